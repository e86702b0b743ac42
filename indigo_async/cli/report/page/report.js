"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("lines");
  const tip = document.getElementById("tip");
  const found = document.getElementById("found");
  const [CUSTOMER, NAME, STATE, CENTS, AUDIENCE, ERROR, START, SPANS] = [0, 1, 2, 3, 4, 5, 6, 7];
  const AXIS = 24, ROWS_LISTED = 200, NAMED_ROW = 13;
  const endOf = (job) => { let at = job[START]; for (let i = SPANS; i < job.length; i += 3) at += job[i + 1] + job[i + 2]; return at; };
  for (const job of data.jobs) { job.end = endOf(job); job.text = (job[NAME] + "\n" + data.customers[job[CUSTOMER]]).toLowerCase(); }
  const seconds = (units) => (units / data.units) * data.seconds;
  const duration = (s) => {
    if (s < 10) return s >= 0.01 ? `${Number(s.toPrecision(2))} s` : "0 s";
    const whole = Math.round(s);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
    const minutes = Math.floor((whole % 3600) / 60);
    if (whole < 86400) return `${Math.floor(whole / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
    return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
  };
  const moment = (at, step) => {
    if (step >= 1 || at < 10) return duration(at);
    const minutes = Math.floor(at / 60), digits = Math.ceil(-Math.log10(step));
    return `${minutes ? `${duration(minutes * 60)} ` : ""}${(at - minutes * 60).toFixed(digits)} s`;
  };
  const dollars = (cents) => "$" + (cents / 100).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

  let jobs = data.jobs, hits = null;
  const view = { left: 0, right: data.units, top: 0, bottom: jobs.length };

  function getColors() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    return { stages: data.stages.map(of), ink: of("ink"), muted: of("muted"), grid: of("grid"), bad: of("bad"), card: of("card") };
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d"), colors = getColors();
    pen.scale(ratio, ratio);
    const room = height - AXIS;
    const x = (at) => ((at - view.left) / (view.right - view.left)) * width;
    const rowHeight = room / Math.max(1, view.bottom - view.top);
    axis(pen, colors, width, room);
    pen.save(); pen.beginPath(); pen.rect(0, 0, width, room); pen.clip();
    const first = Math.max(0, Math.floor(view.top)), last = Math.min(jobs.length, Math.ceil(view.bottom));
    const thin = rowHeight > 4 ? Math.min(rowHeight - 1, 22) : Math.max(1 / ratio, rowHeight);
    const strokes = (chosen, thick) => {
      for (let number = first; number < last; number++) {
        const job = jobs[number];
        if (!chosen(job)) continue;
        const y = (number - view.top + 0.5) * rowHeight - thick / 2;
        let at = job[START];
        for (let i = SPANS; i < job.length; i += 3) {
          const start = at + job[i + 1]; at = start + job[i + 2];
          if (at < view.left || start > view.right) continue;
          pen.fillStyle = colors.stages[job[i]];
          pen.fillRect(x(start), y, Math.max(0.6, x(at) - x(start)), thick);
        }
      }
    };
    strokes(() => true, thin);
    if (hits) {
      // Fade everything else at once: thousands of overlapping pale lines would not look pale.
      pen.globalAlpha = 0.86; pen.fillStyle = colors.card; pen.fillRect(0, 0, width, room); pen.globalAlpha = 1;
      strokes((job) => hits.has(job), Math.max(2, thin));
    }
    const size = Math.max(2.5, Math.min(5, thin / 2));
    pen.strokeStyle = colors.bad; pen.lineWidth = 1.6; pen.beginPath();
    for (let number = first; number < last; number++) {
      const job = jobs[number];
      if (job[STATE] !== 1 || (hits && !hits.has(job))) continue;
      const atX = x(job.end) + 3, atY = (number - view.top + 0.5) * rowHeight;
      pen.moveTo(atX - size, atY - size); pen.lineTo(atX + size, atY + size);
      pen.moveTo(atX + size, atY - size); pen.lineTo(atX - size, atY + size);
    }
    pen.stroke();
    pen.restore();
    if (rowHeight > NAMED_ROW) names(pen, colors, width, room, rowHeight, first, last, x);
  }

  function axis(pen, colors, width, room) {
    const all = seconds(view.right - view.left), from = seconds(view.left);
    const steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 604800];
    const step = steps.find((each) => all / each <= Math.max(2, width / 110)) || 604800;
    pen.fillStyle = colors.muted; pen.strokeStyle = colors.grid; pen.lineWidth = 1;
    pen.font = "12px system-ui, 'DejaVu Sans', sans-serif"; pen.textAlign = "center";
    for (let at = Math.ceil(from / step) * step; at <= from + all; at += step) {
      const where = ((at - from) / all) * width;
      pen.beginPath(); pen.moveTo(where, 0); pen.lineTo(where, room); pen.stroke();
      if (where > 14 && where < width - 24) pen.fillText(moment(at, step), where, room + 17);
    }
  }

  function names(pen, colors, width, room, rowHeight, first, last, x) {
    pen.font = "11.5px system-ui, 'DejaVu Sans', sans-serif"; pen.textAlign = "left"; pen.direction = "ltr"; pen.textBaseline = "middle";
    for (let number = first; number < last; number++) {
      const job = jobs[number], y = (number - view.top + 0.5) * rowHeight;
      if (y > room) break;
      const label = "\u2068" + job[NAME] + "\u2069", wide = pen.measureText(label).width;
      const after = x(job.end) + 12;
      const inside = after + wide > width;
      const from = inside ? Math.max(4, width - wide - 8) : Math.max(4, after);
      // A halo keeps a name readable on top of its bar.
      if (inside) { pen.strokeStyle = colors.card; pen.lineWidth = 3; pen.lineJoin = "round"; pen.strokeText(label, from, y + 0.5); }
      pen.fillStyle = inside ? colors.ink : colors.muted;
      pen.fillText(label, from, y + 0.5);
    }
    pen.textBaseline = "alphabetic";
  }

  let pending = false;
  const redraw = () => { if (!pending) { pending = true; requestAnimationFrame(() => { pending = false; draw(); }); } };

  function clampView() {
    const wide = Math.min(data.units * 1.02, Math.max(4, view.right - view.left));
    const high = Math.min(jobs.length, Math.max(Math.min(3, jobs.length), view.bottom - view.top));
    view.left = Math.min(Math.max(-data.units * 0.01, view.left), data.units * 1.01 - wide); view.right = view.left + wide;
    view.top = Math.min(Math.max(0, view.top), Math.max(0, jobs.length - high)); view.bottom = view.top + high;
  }
  // Zoom in on jobs until each name is visible, then on time; zoom out in reverse order.
  function zoom(factor, px = 0.5, py = 0.5) {
    const wide = view.right - view.left, high = view.bottom - view.top;
    const named = (canvas.clientHeight - AXIS) / high > NAMED_ROW;
    if (factor < 1 ? named : wide < data.units * 0.999) { view.left += wide * (1 - factor) * px; view.right = view.left + wide * factor; }
    else { view.top += high * (1 - factor) * py; view.bottom = view.top + high * factor; }
    clampView(); redraw();
  }
  function showAll() { view.left = 0; view.right = data.units; view.top = 0; view.bottom = Math.max(1, jobs.length); redraw(); }

  const orders = {
    start: (a, b) => a[START] - b[START] || a.end - b.end,
    end: (a, b) => a.end - b.end,
    length: (a, b) => (b.end - b[START]) - (a.end - a[START]),
    customer: (a, b) => a[CUSTOMER] - b[CUSTOMER] || a[START] - b[START],
  };
  function update() {
    const text = document.getElementById("find").value.trim().toLowerCase();
    const state = document.getElementById("state").value;
    jobs = data.jobs.filter((job) => state === "" || job[STATE] === Number(state)).sort(orders[document.getElementById("order").value]);
    hits = text ? new Set(jobs.filter((job) => job.text.includes(text))) : null;
    const listed = hits ? jobs.filter((job) => hits.has(job)) : jobs;
    const sampled = data.jobs.length < data.total ? ` (showing ${data.jobs.length.toLocaleString("en-US")} of ${data.total.toLocaleString("en-US")})` : "";
    found.textContent = `${listed.length.toLocaleString("en-US")} ${listed.length === 1 ? "job" : "jobs"}${sampled}`;
    list(listed); showAll();
  }

  function cell(row, text, numeric) {
    const td = row.insertCell(), content = document.createElement("bdi");
    content.textContent = text; td.append(content);
    if (numeric) td.className = "n";
  }
  function stateOf(job) { return job[ERROR] >= 0 ? `failed at ${data.errors[job[ERROR]]}` : job[STATE] === 2 ? "unfinished" : "done"; }
  function list(listed) {
    const body = document.getElementById("rows");
    body.textContent = "";
    for (const job of listed.slice(0, ROWS_LISTED)) {
      const row = body.insertRow();
      cell(row, data.customers[job[CUSTOMER]]); cell(row, job[NAME]); cell(row, stateOf(job));
      cell(row, job[CENTS] ? dollars(job[CENTS]) : "–", true); cell(row, duration(seconds(job[START])), true); cell(row, duration(seconds(job.end - job[START])), true);
    }
    if (listed.length > ROWS_LISTED) { const td = body.insertRow().insertCell(); td.colSpan = 6; td.className = "muted"; td.textContent = `and ${(listed.length - ROWS_LISTED).toLocaleString("en-US")} more: use Find`; }
  }

  function jobAt(event) {
    const box = canvas.getBoundingClientRect(), y = event.clientY - box.top, room = box.height - AXIS;
    if (y < 0 || y >= room) return null;
    const number = view.top + (y / room) * (view.bottom - view.top);
    const many = (view.bottom - view.top) / room;
    // If several jobs share a row of pixels, prefer search results, then failures.
    const candidates = jobs.slice(Math.max(0, Math.floor(number)), Math.max(Math.floor(number) + 1, Math.ceil(number + many)));
    return (hits && candidates.find((job) => hits.has(job))) || candidates.find((job) => job[STATE] === 1) || candidates[0] || null;
  }
  function show(event) {
    const job = jobAt(event);
    if (!job) { tip.hidden = true; return; }
    tip.textContent = "";
    const line = (text, tag = "div") => { const element = document.createElement(tag), content = document.createElement("bdi"); content.textContent = text; element.append(content); tip.append(element); };
    line(job[NAME], "strong");
    line(`customer ${data.customers[job[CUSTOMER]]}${job[AUDIENCE] ? `, audience ${job[AUDIENCE]}` : ""}`);
    line(`${stateOf(job)}; started after ${duration(seconds(job[START]))}, took ${duration(seconds(job.end - job[START]))}`);
    const spent = new Map();
    for (let i = SPANS; i < job.length; i += 3) spent.set(job[i], (spent.get(job[i]) || 0) + job[i + 2]);
    line([...spent].map(([stage, units]) => `${data.stages[stage]} ${duration(seconds(units))}`).join(", "));
    if (job[CENTS]) line(dollars(job[CENTS]));
    tip.hidden = false;
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    tip.style.left = `${Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > box.height ? y - tip.offsetHeight - 10 : y + 18}px`;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, ...view }; canvas.setPointerCapture(event.pointerId); canvas.classList.add("moving"); tip.hidden = true; });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) { show(event); return; }
    const wide = drag.right - drag.left, high = drag.bottom - drag.top;
    view.left = drag.left - ((event.clientX - drag.x) / canvas.clientWidth) * wide; view.right = view.left + wide;
    view.top = drag.top - ((event.clientY - drag.y) / (canvas.clientHeight - AXIS)) * high; view.bottom = view.top + high;
    clampView(); redraw();
  });
  const release = () => { drag = null; canvas.classList.remove("moving"); };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 0.75 : 1 / 0.75, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => { const box = canvas.getBoundingClientRect(); zoom(0.4, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height); });
  canvas.addEventListener("keydown", (event) => {
    const wide = (view.right - view.left) / 5, high = (view.bottom - view.top) / 5;
    const moves = { ArrowLeft: [-wide, 0], ArrowRight: [wide, 0], ArrowUp: [0, -high], ArrowDown: [0, high] };
    if (event.key === "+" || event.key === "=") zoom(0.6);
    else if (event.key === "-") zoom(1 / 0.6);
    else if (event.key === "0") showAll();
    else if (moves[event.key]) { const [dx, dy] = moves[event.key]; view.left += dx; view.right += dx; view.top += dy; view.bottom += dy; clampView(); redraw(); }
    else return;
    event.preventDefault();
  });
  document.getElementById("zoom-in").addEventListener("click", () => zoom(0.5));
  document.getElementById("zoom-out").addEventListener("click", () => zoom(2));
  document.getElementById("show-all").addEventListener("click", showAll);
  for (const id of ["find", "order", "state"]) document.getElementById(id).addEventListener("input", update);
  new ResizeObserver(redraw).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (data.jobs.length <= 30) canvas.style.height = `${Math.max(120, data.jobs.length * 24 + AXIS)}px`;
  update();
})();
