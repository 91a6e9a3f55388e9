#!/bin/sh
# What Spark on Kubernetes asks of an image: `driver ...`, `executor ...`, or any command. pip's Spark has no such file.
set -eu
jars=$SPARK_HOME/jars/*
case ${1:-} in
  driver)
    shift
    exec tini -s -- "$SPARK_HOME/bin/spark-submit" --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
      --deploy-mode client "$@"
    ;;
  executor)
    shift
    # options arrive as SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, ...
    set --
    i=0
    while option=$(printenv "SPARK_JAVA_OPT_$i"); do
      set -- "$@" "$option"
      i=$((i + 1))
    done
    exec tini -s -- "$JAVA_HOME/bin/java" "$@" -Xms"$SPARK_EXECUTOR_MEMORY" -Xmx"$SPARK_EXECUTOR_MEMORY" \
      -cp "${SPARK_CLASSPATH:-}:$jars" org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
      --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
      --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" --resourceProfileId \
      "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
  *)
    exec tini -s -- "$@"
    ;;
esac
