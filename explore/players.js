"use strict";
(() => {
  // An original and its fake in step: the original leads, the fake is hurried or held back, or set where it is far off.
  const FAR = 0.25; // seconds
  const NEAR = 0.015; // seconds: half a frame
  const element = (name, values = {}) => Object.assign(document.createElement(name), values);
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

  const makeVideo = (source, label) => {
    const video = element("video", { muted: true, playsInline: true, preload: "none", src: source });
    video.setAttribute("aria-label", label);
    return video;
  };

  const inStep = (place) => {
    const real = makeVideo(place.dataset.original, "original");
    const fake = makeVideo(place.dataset.fake, "fake");
    const both = [real, fake];
    const canvas = element("canvas");
    canvas.setAttribute("aria-label", "difference, brightened");
    canvas.style.filter = `brightness(${place.dataset.amplified})`;
    const screens = element("div", { className: "screens" });
    screens.append(real, fake, canvas);
    const button = element("button", { type: "button", textContent: "Play" });
    const bar = element("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0 });
    bar.setAttribute("aria-label", "time in both videos");
    const time = element("output");
    const controls = element("div", { className: "controls" });
    controls.append(button, bar, time);
    let playing = false;

    const length = () => Math.min(...both.map((video) => video.duration || 0));
    const draw = () => {
      if (both.some((video) => video.readyState < 2)) return;
      if (canvas.width !== real.videoWidth) [canvas.width, canvas.height] = [real.videoWidth, real.videoHeight];
      const pen = canvas.getContext("2d");
      pen.globalCompositeOperation = "copy";
      pen.drawImage(real, 0, 0, canvas.width, canvas.height);
      pen.globalCompositeOperation = "difference";
      pen.drawImage(fake, 0, 0, canvas.width, canvas.height);
    };
    const tell = () => {
      bar.value = real.currentTime;
      time.textContent = `${clock(real.currentTime)} / ${clock(length())}`;
    };
    const correct = () => {
      const drift = fake.currentTime - real.currentTime;
      if (Math.abs(drift) > FAR) fake.currentTime = real.currentTime;
      fake.playbackRate = Math.abs(drift) > NEAR ? Math.min(1.25, Math.max(0.8, 1 - drift * 2)) : 1;
    };
    const pause = () => {
      playing = false;
      both.forEach((video) => video.pause());
      fake.playbackRate = 1;
      button.textContent = "Play";
      // Paused, they must show one moment exactly.
      if (length() && fake.currentTime !== real.currentTime) fake.currentTime = real.currentTime;
      tell();
    };
    const tick = () => {
      if (!playing) return;
      if (length() && real.currentTime >= length() - 0.02) {
        pause();
        return;
      }
      // One that waits for its file holds the other.
      const waiting = both.some((video) => video.readyState < 3);
      both.forEach((video) => {
        if (waiting && video.readyState >= 3 && !video.paused) video.pause();
        else if (!waiting && video.paused) video.play().catch(() => undefined);
      });
      if (!waiting) correct();
      draw();
      tell();
      requestAnimationFrame(tick);
    };
    const seek = (seconds) => both.forEach((video) => { video.currentTime = seconds; });
    const play = () => {
      if (length() && real.currentTime >= length() - 0.05) seek(0);
      playing = true;
      button.textContent = "Pause";
      both.forEach((video) => video.play().catch(() => undefined));
      requestAnimationFrame(tick);
    };
    button.addEventListener("click", () => (playing ? pause() : play()));
    bar.addEventListener("input", () => seek(parseFloat(bar.value)));
    both.forEach((video) => {
      video.addEventListener("loadedmetadata", () => { bar.max = length() || 1; tell(); });
      video.addEventListener("seeked", () => { draw(); tell(); });
      video.addEventListener("loadeddata", draw);
      video.addEventListener("error", () => {
        pause();
        screens.remove();
        controls.replaceWith(element("p", { textContent: "This browser cannot play these files; the pictures above show them." }));
      });
    });
    place.append(controls, screens);
    play();
  };

  const asked = document.createElement("video");
  const canPlay = (type) => type !== "" && asked.canPlayType(type) !== "";
  document.querySelectorAll(".players").forEach((place) => {
    if (!canPlay(place.dataset.originalType) || !canPlay(place.dataset.fakeType)) return;
    const open = element("button", { type: "button", className: "open", textContent: "Play both in step" });
    open.addEventListener("click", () => { open.remove(); inStep(place); }, { once: true });
    place.append(open);
  });
})();
