// The tab in which somebody signed in tells the one that waits with a form. Both are pages of this host.
"use strict";
(() => {
  if (!("BroadcastChannel" in window)) return;
  const channel = new BroadcastChannel("masugata");
  const note = document.getElementById("signed-in");
  if (!note) {
    channel.postMessage("signed-in");
    return;
  }
  channel.addEventListener("message", (event) => {
    if (event.data !== "signed-in") return;
    note.hidden = false;
    const signIn = document.getElementById("sign-in");
    if (signIn) signIn.classList.add("second");
    const send = document.getElementById("send");
    if (send) {
      send.classList.remove("second");
      send.focus();
    }
  });
})();
