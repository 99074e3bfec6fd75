"use strict";
// Sends videos to the server that this page comes from, and shows what becomes of them.
(() => {
  const AT_A_TIME = 2; // uploads
  const ENDINGS = /\.(mp4|mov|m4v|avi|mkv|webm|mpe?g|wmv|flv|3gp|m?ts|m2ts|gif|ogv|vob)$/i;
  const STAGES = { "": "waiting for a decoder", decoding: "reading its frames", scoring: "looking at its faces" };
  const $ = (id) => document.getElementById(id);
  const list = $("videos");
  const shown = new Map(); // id -> the item of a video that the server knows
  const session = { sent: 0, answered: 0 }; // of what was dropped on this page
  let waitingIds = [];
  let nextPage = null;

  const make = (tag, className, text = "") => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return element;
  };
  const size = (bytes) => {
    const units = ["B", "kB", "MB", "GB"];
    const unit = Math.min(3, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
    return `${+(bytes / 1000 ** unit).toFixed(1)} ${units[unit]}`;
  };
  const minutes = (seconds) => (seconds < 120 ? `${Math.round(seconds)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`);
  const say = (text, bad = false) => {
    $("status").textContent = text;
    $("status").classList.toggle("bad", bad);
  };

  // The server, with the token where it wants one

  const token = () => sessionStorage.getItem("dfdc-token") ?? "";
  const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});
  let asking = null;
  const askForToken = () => {
    asking ??= new Promise((resolve) => {
      $("ask-wrong").textContent = token() ? "The token is wrong." : "";
      $("ask").showModal();
      $("ask").addEventListener("close", () => {
        sessionStorage.setItem("dfdc-token", $("token").value);
        $("token").value = "";
        asking = null;
        resolve();
      }, { once: true });
    });
    return asking;
  };
  const ask = async (path, options = {}) => {
    for (;;) {
      const answer = await fetch(path, { ...options, headers: headers() });
      if (answer.status !== 401) return answer;
      await askForToken();
    }
  };

  // One video

  const addItem = (name, newest) => {
    const item = make("li", "video");
    const row = item.appendChild(make("div", "row"));
    item.row = row;
    item.label = row.appendChild(make("span", "name"));
    item.label.appendChild(make("bdi", "", name));
    item.state = row.appendChild(make("span", "state"));
    item.remove_ = row.appendChild(make("button", "remove", "Delete"));
    item.remove_.type = "button";
    item.remove_.setAttribute("aria-label", `Delete ${name}`);
    newest ? list.prepend(item) : list.append(item);
    $("none").hidden = true;
    return item;
  };
  const setBar = (item, share) => {
    item.bar ??= item.row.appendChild(document.createElement("progress"));
    item.bar.setAttribute("aria-label", `Progress of ${item.label.textContent}`);
    if (share === null) item.bar.removeAttribute("value");
    else item.bar.value = share;
  };
  const dropBar = (item) => {
    item.bar?.remove();
    item.bar = null;
  };
  const setLine = (item, kind, text) => {
    item[kind] ??= item.row.appendChild(make("p", kind));
    item[kind].textContent = text;
    item[kind].hidden = !text;
  };
  const probability = (value) => {
    const at = 100 * Math.min(Math.max(value, 0), 1);
    const whole = make("span", "probability");
    whole.append(`P(fake) `);
    whole.append(make("b", "", value.toFixed(3)));
    const bar = whole.appendChild(make("span", "bar")).appendChild(make("i", at >= 50 ? "fake" : "real"));
    bar.style.left = `${Math.min(at, 50)}%`;
    bar.style.width = `${Math.abs(at - 50)}%`;
    return whole;
  };
  const makeOpenable = (item, id) => {
    const button = make("button", "name");
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.append(...item.label.childNodes);
    item.label.replaceWith(button);
    item.label = button;
    button.addEventListener("click", () => toggle(item, id));
  };
  const toggle = async (item, id) => {
    const open = item.label.getAttribute("aria-expanded") === "true";
    if (!item.article) {
      const answer = await ask(`/v1/videos/${id}/report`);
      if (!answer.ok) return say((await answer.json()).detail, true);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      item.article = document.adoptNode(page.querySelector("article"));
      item.article.id = `report-${id}`;
      item.article.querySelector("h3").id = `name-${id}`;
      item.article.setAttribute("aria-labelledby", `name-${id}`);
      item.label.setAttribute("aria-controls", item.article.id);
      item.append(item.article);
    }
    item.article.hidden = open;
    item.label.setAttribute("aria-expanded", String(!open));
  };
  const showState = (item, video) => {
    const place = waitingIds.indexOf(video.id);
    if (video.state !== "done") {
      const before = place < 0 ? (video.position ?? 1) - 1 : place;
      item.state.textContent = video.state === "queued" ? (before ? `waiting, ${before} before it` : "waiting, next") : STAGES[video.stage];
      return setBar(item, null);
    }
    dropBar(item);
    const { status, prob_fake: value, reason, verdict } = video.result;
    item.state.replaceChildren(status === "ok" ? probability(value) : make("span", "badge fallback", `${status}: not scored`));
    const sentence = verdict?.sentence ?? "";
    setLine(item, "verdict", sentence);
    setLine(item, "why", sentence.includes(reason) ? "" : reason);
    if (video.has_report && item.label.tagName !== "BUTTON") makeOpenable(item, video.id);
  };
  const show = (video, newest) => {
    let item = shown.get(video.id);
    if (!item) {
      item = addItem(video.name, newest);
      shown.set(video.id, item);
    }
    if (!item.id) bind(item, video.id);
    const news = video.state === "done" && item.video?.state !== "done";
    item.video = video;
    showState(item, video);
    if (news && item.mine) {
      session.answered += 1;
      tellSession();
    }
  };
  const bind = (item, id) => {
    item.id = `video-${id}`;
    item.remove_.addEventListener("click", async () => {
      const answer = await ask(`/v1/videos/${id}`, { method: "DELETE" });
      if (!answer.ok && answer.status !== 404) return say((await answer.json()).detail, true);
      removeItem(id);
      say(`Deleted ${item.video.name}.`);
    });
  };
  const removeItem = (id) => {
    const item = shown.get(id);
    if (!item) return;
    // Who works by keyboard goes on at the next video, not at the top of the page.
    if (item.contains(document.activeElement)) (item.nextElementSibling ?? $("drop")).querySelector("button")?.focus();
    item.remove();
    shown.delete(id);
    $("none").hidden = list.children.length > 0;
  };
  const tellSession = () => {
    const { sent, answered } = session;
    say(answered === sent ? `All ${sent} finished.` : `${answered} of ${sent} finished.`);
  };

  // Uploads

  const todo = [];
  let under_way = 0;
  const take = (files, fromFolder) => {
    const videos = fromFolder ? files.filter((file) => file.type.startsWith("video/") || ENDINGS.test(file.name)) : files;
    const skipped = files.length - videos.length;
    for (const file of videos) {
      const item = addItem(file.name, true);
      item.mine = true;
      item.remove_.hidden = true;
      item.state.textContent = "waiting to be sent";
      session.sent += 1;
      if (file.size > LIMITS.bytes) refuse(item, { detail: `it has ${size(file.size)}, more than the limit of ${size(LIMITS.bytes)}`, next: "send a shorter part" });
      else todo.push({ file, item });
    }
    if (session.sent) tellSession();
    if (skipped) say(`${$("status").textContent} ${skipped} files of the folder are no videos by their names.`);
    pump();
  };
  const refuse = (item, problem) => {
    dropBar(item);
    session.answered += 1;
    item.state.replaceChildren(make("span", "badge fallback", "refused"));
    setLine(item, "why", problem.next ? `${problem.detail}: ${problem.next}` : problem.detail);
    item.remove_.hidden = false;
    item.remove_.textContent = "Remove";
    item.remove_.setAttribute("aria-label", `Remove ${item.label.textContent}`);
    item.remove_.addEventListener("click", () => item.remove(), { once: true });
    tellSession();
  };
  const pump = async () => {
    while (under_way < AT_A_TIME && todo.length) {
      const { file, item } = todo.shift();
      under_way += 1;
      send(file, item).catch((error) => refuse(item, { detail: error.message })).finally(() => {
        under_way -= 1;
        pump();
      });
    }
  };
  const send = async (file, item) => {
    for (;;) {
      const answer = await post(file, item);
      if (answer.status === 202) return accepted(item, JSON.parse(answer.responseText));
      if (answer.status === 401) await askForToken();
      else if (answer.status === 429) {
        item.state.textContent = "the queue is full; sent again soon";
        await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(answer.getResponseHeader("Retry-After")) || 5)));
      } else return refuse(item, problemOf(answer));
    }
  };
  const problemOf = (answer) => {
    try {
      return JSON.parse(answer.responseText);
    } catch {
      return { detail: "the server did not answer", next: "look whether it still runs" };
    }
  };
  // Not fetch, which does not tell how much of a body is sent.
  const post = (file, item) => new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file, file.name);
    request.open("POST", "/v1/videos");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => {
      item.state.textContent = `sent ${size(event.loaded)} of ${size(event.total)}`;
      setBar(item, event.loaded / event.total);
    });
    request.addEventListener("loadend", () => resolve(request));
    request.send(form);
  });
  const accepted = (item, video) => {
    // The stream of events may have been quicker.
    const twin = shown.get(video.id);
    if (twin && twin !== item) {
      video = twin.video;
      twin.remove();
    }
    item.remove_.hidden = false;
    shown.set(video.id, item);
    show(video, true);
  };

  // Dropping and choosing

  const entriesOf = async (entry) => {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    const files = [];
    for (;;) {
      // A reader gives a hundred at a time, and none at the end.
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return files;
      for (const each of some) files.push(...(await entriesOf(each)));
    }
  };
  const onDrop = async (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    const parts = await Promise.all(entries.map(async (entry) => ({ files: await entriesOf(entry), folder: entry.isDirectory })));
    for (const { files, folder } of parts) take(files, folder);
  };
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || $("drop").classList.remove("over"));
  addEventListener("drop", (event) => onDrop(event).catch((error) => say(error.message, true)));
  for (const [button, input] of [["choose-files", "files"], ["choose-folder", "folder"]]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => {
      take([...$(input).files], input === "folder");
      $(input).value = ""; // so that the same file can be chosen again
    });
  }
  addEventListener("beforeunload", (event) => {
    if (under_way || todo.length) event.preventDefault();
  });

  // History and news

  const load = async (path, newest = false) => {
    const answer = await ask(path);
    if (!answer.ok) throw new Error((await answer.json()).detail);
    const page = await answer.json();
    const videos = newest ? page.videos.toReversed() : page.videos;
    for (const video of videos) show(video, newest);
    $("none").hidden = list.children.length > 0;
    return page.next;
  };
  const onEvent = (name, data) => {
    if (name === "video") show(data, true);
    if (name === "gone") removeItem(data);
    if (name === "queue") {
      waitingIds = data;
      for (const id of data) {
        const item = shown.get(id);
        if (item) showState(item, item.video);
      }
    }
  };
  // Not EventSource, which sends no token.
  const follow = async () => {
    const answer = await ask("/v1/events");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const next = await load("/v1/videos", true); // after the stream is open, so that nothing falls between
    if (nextPage === null) setNext(next);
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the server ended the connection");
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const fields = Object.fromEntries(event.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
        if (fields.event) onEvent(fields.event, JSON.parse(fields.data));
      }
    }
  };
  const setNext = (next) => {
    nextPage = next ?? "";
    $("older").hidden = !next;
  };
  $("older").addEventListener("click", async () => setNext(await load(nextPage)));
  const followForever = async () => {
    for (;;) {
      await follow().catch((error) => say(`${error.message}; trying again`, true));
      await new Promise((resolve) => setTimeout(resolve, 2000));
      say("");
    }
  };
  const kept = LIMITS.keep ? `${minutes(LIMITS.keep)} after its answer` : "with its answer";
  $("limits").textContent = `Up to ${size(LIMITS.bytes)} and ${minutes(LIMITS.seconds)} each. An upload is deleted ${kept}; the answer, with small pictures, stays here until you delete it.`;
  followForever();
})();
