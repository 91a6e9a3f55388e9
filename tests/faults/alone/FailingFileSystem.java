package scoreline.faults;

import java.io.IOException;
import java.io.OutputStream;
import java.net.URI;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.DelegateToFileSystem;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.util.Progressable;

/**
 * The local file system as failing:///path, whose n-th call fails; writes count, so that files break off in the middle.
 * In a JVM with -Dfailing.slow=n each commit of Delta takes n milliseconds until it is seen.
 */
public class FailingFileSystem extends RawLocalFileSystem {
  private static final URI NAME = URI.create("failing:///");
  private static final AtomicInteger CALLS = new AtomicInteger();
  private static final int SLOW = Integer.getInteger("failing.slow", 0);
  private static volatile int failAt = 0;

  /** Let the n-th call from now on fail; 0 for none. */
  public static void arm(int n) {
    CALLS.set(0);
    failAt = n;
  }

  public static int calls() {
    return CALLS.get();
  }

  private static void called(String what) throws IOException {
    int n = CALLS.incrementAndGet();
    if (failAt > 0 && n == failAt) {
      throw new IOException("injected failure of call " + n + " (" + what + ")");
    }
  }

  @Override
  public URI getUri() {
    return NAME;
  }

  @Override
  public String getScheme() {
    return "failing";
  }

  @Override
  public FSDataInputStream open(Path path, int bufferSize) throws IOException {
    called("open");
    return super.open(path, bufferSize);
  }

  @Override
  public FSDataOutputStream create(Path path, boolean overwrite, int bufferSize, short replication, long blockSize,
      Progressable progress) throws IOException {
    called("create");
    return breakable(super.create(path, overwrite, bufferSize, replication, blockSize, progress));
  }

  @Override
  public FSDataOutputStream create(Path path, FsPermission permission, boolean overwrite, int bufferSize,
      short replication, long blockSize, Progressable progress) throws IOException {
    called("create");
    return breakable(super.create(path, permission, overwrite, bufferSize, replication, blockSize, progress));
  }

  private static FSDataOutputStream breakable(FSDataOutputStream whole) throws IOException {
    return new FSDataOutputStream(new OutputStream() {
      private int writes = 0;

      @Override
      public void write(int b) throws IOException {
        wrote();
        whole.write(b);
      }

      @Override
      public void write(byte[] bytes, int from, int length) throws IOException {
        wrote();
        whole.write(bytes, from, length);
      }

      /** Of a file's writes the 1st, 2nd, 4th, 8th, ... count as calls: those between them fail alike. */
      private void wrote() throws IOException {
        if (Integer.bitCount(++writes) == 1) {
          called("write");
        }
      }

      @Override
      public void flush() throws IOException {
        whole.flush();
      }

      @Override
      public void close() throws IOException {
        whole.close();
      }
    }, null);
  }

  @Override
  public boolean rename(Path from, Path to) throws IOException {
    called("rename");
    if (SLOW > 0 && to.getName().matches("\\d{20}[.]json")) {
      try {
        Thread.sleep(SLOW);
      } catch (InterruptedException error) {
        throw new IOException(error);
      }
    }
    return super.rename(from, to);
  }

  @Override
  public boolean mkdirs(Path path) throws IOException {
    called("mkdirs");
    return super.mkdirs(path);
  }

  @Override
  public FileStatus[] listStatus(Path path) throws IOException {
    called("list");
    return Arrays.stream(super.listStatus(path)).map(FailingFileSystem::plain).toArray(FileStatus[]::new);
  }

  /** As a store tells it: the local status asks for a file's owner, and knows the scheme file only. */
  private static FileStatus plain(FileStatus found) {
    return new FileStatus(found.getLen(), found.isDirectory(), found.getReplication(), found.getBlockSize(),
        found.getModificationTime(), found.getPath());
  }

  /** The same for Hadoop's newer interface, through which Delta writes its log. */
  public static class Context extends DelegateToFileSystem {
    public Context(URI uri, Configuration configuration) throws Exception {
      super(uri, new FailingFileSystem(), configuration, "failing", false);
    }
  }
}
