// What our pages cannot do without a script: passkeys, the token of a first link, copying and printing codes.
// All words come from the page. Every answer of the server is JSON; bytes are base64url.
"use strict";

(() => {
  const toBytes = (text) => {
    const base64 = text.replace(/-/g, "+").replace(/_/g, "/");
    return Uint8Array.from(atob(base64), (it) => it.charCodeAt(0));
  };
  const toText = (buffer) => {
    let binary = "";
    for (const byte of new Uint8Array(buffer)) binary += String.fromCharCode(byte);
    return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };

  const withIds = (list) => (list || []).map((it) => ({ ...it, id: toBytes(it.id) }));

  const forGet = (options) => ({
    ...options,
    challenge: toBytes(options.challenge),
    allowCredentials: withIds(options.allowCredentials),
  });
  const forCreate = (options) => ({
    ...options,
    challenge: toBytes(options.challenge),
    user: { ...options.user, id: toBytes(options.user.id) },
    excludeCredentials: withIds(options.excludeCredentials),
  });

  const plain = (credential) => {
    const from = credential.response;
    const response = { clientDataJSON: toText(from.clientDataJSON) };
    if (from.attestationObject) {
      response.attestationObject = toText(from.attestationObject);
      if (from.getTransports) response.transports = from.getTransports();
    } else {
      response.authenticatorData = toText(from.authenticatorData);
      response.signature = toText(from.signature);
      response.userHandle = from.userHandle ? toText(from.userHandle) : null;
    }
    return {
      id: credential.id,
      rawId: toText(credential.rawId),
      type: credential.type,
      response,
      clientExtensionResults: credential.getClientExtensionResults(),
    };
  };

  // The server said no, in words.
  class Refusal extends Error {}

  const call = async (path, body) => {
    const answer = await fetch(path, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const value = await answer.json();
    if (!answer.ok) throw new Refusal(value.error);
    return value;
  };

  const passkeys = (box) => {
    const { mode, options, finish, c, form } = box.dataset;
    const words = box.dataset;
    const button = box.querySelector("[data-start]");
    const live = box.querySelector("[data-says]");
    const nameField = document.getElementById(words.nameField || "");
    const say = (text) => {
      live.textContent = text || "";
    };
    const explain = (error) => {
      if (error instanceof Refusal) return error.message || words.unreachable;
      if (error instanceof TypeError || error instanceof SyntaxError) return words.unreachable;
      if (error.name === "InvalidStateError") return words.exists || words.cancelled;
      if (error.name === "NotSupportedError" || error.name === "SecurityError") return words.unsupported;
      return words.cancelled;
    };

    let waiting = null;
    const stop = () => {
      if (waiting) waiting.abort();
      waiting = null;
    };

    const run = async (conditional) => {
      stop();
      const mine = new AbortController();
      waiting = mine;
      const name = nameField ? nameField.value : "";
      try {
        // A typed name is for keys that do not know their accounts by themselves; autofill needs none.
        const asked = await call(options, conditional ? { c, form } : { c, form, name });
        if (mine.signal.aborted) return;
        const request = { signal: mine.signal };
        if (conditional) request.mediation = "conditional";
        if (mode === "create") request.publicKey = forCreate(asked.publicKey);
        else request.publicKey = forGet(asked.publicKey);
        const credential =
          mode === "create"
            ? await navigator.credentials.create(request)
            : await navigator.credentials.get(request);
        if (!credential) return;
        const done = await call(finish, { c, form, name, credential: plain(credential) });
        location.assign(done.to);
      } catch (error) {
        if (mine.signal.aborted) return;
        // Nobody pressed anything: a browser that gives up waiting is no news. A refusal is.
        if (!conditional || error instanceof Refusal) say(explain(error));
        if (button) button.disabled = false;
      }
    };

    if (!window.PublicKeyCredential) {
      say(words.unsupported);
      return;
    }
    button.hidden = false;
    button.addEventListener("click", () => {
      button.disabled = true;
      say(words.waiting);
      run(false);
    });
    // Whoever comes back with the back button must be able to press it again.
    window.addEventListener("pageshow", () => {
      button.disabled = false;
    });
    if (mode === "get" && PublicKeyCredential.isConditionalMediationAvailable) {
      PublicKeyCredential.isConditionalMediationAvailable().then((can) => {
        if (can && !waiting) run(true);
      });
    }
  };

  // The token of a first link stands after #, where no server and no log sees it.
  const firstLink = (form) => {
    const token = location.hash.slice(1);
    if (!token) return;
    history.replaceState(null, "", location.pathname + location.search);
    form.elements.namedItem("token").value = token;
    form.submit();
  };

  const copying = (button) => {
    const source = document.getElementById(button.dataset.copy);
    const live = document.getElementById(button.dataset.says);
    button.hidden = false;
    button.addEventListener("click", async () => {
      const lines = Array.from(source.querySelectorAll("li"), (it) => it.textContent.trim());
      try {
        await navigator.clipboard.writeText(lines.join("\n"));
        live.textContent = button.dataset.done;
      } catch {
        live.textContent = button.dataset.failed;
      }
    });
  };

  const printing = (button) => {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  };

  // Dates come in UTC; people live elsewhere.
  const dates = (time) => {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) {
      time.textContent = at.toLocaleDateString(document.documentElement.lang || undefined, { dateStyle: "medium" });
    }
  };

  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  each("[data-passkey]", passkeys);
  each("form[data-first-link]", firstLink);
  each("[data-copy]", copying);
  each("[data-print]", printing);
  each("time[datetime]", dates);
})();
