/* A page that is opened from a folder (file://) may start no worker, and the search is one. There it runs in a hidden
   frame instead, which has a worker's names. The theme looks for the class by this name. */
class IFrameWorker extends EventTarget {
  constructor(url) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.appendChild(frame);
    this.inside = frame.contentWindow;
    const page = frame.contentDocument;
    page.open();
    page.write(
      "<script>" +
        "postMessage = data => parent.dispatchEvent(new MessageEvent('message', { data, source: self }));" +
        "importScripts = (...urls) => urls.reduce((done, url) => done.then(() => new Promise(loaded => {" +
        "  const script = document.createElement('script');" +
        "  script.src = url; script.onload = loaded; document.body.appendChild(script);" +
        "})), Promise.resolve());" +
        "</" + "script><body><script src='" + url + "'></" + "script></body>"
    );
    page.close();
    addEventListener("message", event => {
      if (event.source !== this.inside) return;
      const copy = new MessageEvent("message", { data: event.data });
      this.dispatchEvent(copy);
      if (this.onmessage) this.onmessage(copy);
    });
  }
  postMessage(data) {
    this.inside.dispatchEvent(new MessageEvent("message", { data }));
  }
  terminate() {
    this.inside.frameElement.remove();
  }
}
if (location.protocol === "file:") {
  window.IFrameWorker = IFrameWorker;
  window.Worker = IFrameWorker;
}
