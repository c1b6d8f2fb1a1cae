
// ---------------------------------------------------------------- two panes, their details and legend
class Explorer {
  constructor(root, phase) {
    this.phase = phase;
    phase.most = Math.max(...phase.times, 0) || 1;
    this.chosen = this.match = null;
    this.byTime = false;
    this.panes = [new Pane(this), new Pane(this)];
    this.box = el("div", { class: "panes" }, ...this.panes.map(p => p.root));
    this.detail = el("div", { class: "detail dim" }, "Click a node for its text, type, layer, line and kernel. "
      + "Drag to move; after a click the wheel zooms (Ctrl and wheel always does). Thick outlines are new in the pass, "
      + "dashed ones go in the next.");
    const search = el("input", { class: "filter", type: "search", size: 34,
      placeholder: "find nodes: op, type, layer, name", oninput: e => this.find(e.target.value),
      onkeydown: e => { if (e.key === "Enter") this.next(); } });
    this.count = el("span", { class: "dim" });
    const one = el("button", { onclick: () => { this.box.classList.toggle("single"); this.resize(); } },
      "one / two panes");
    const heat = el("button", { class: "heat", onclick: () => this.paint(!this.byTime) }, "colour by time");
    root.replaceChildren(el("div", { class: "tools" }, search, this.count, one, ...(phase.times.length ? [heat] : [])),
      this.box, this.detail, this.legend());
  }
  async open() {
    const drawn = this.phase.stages.map((s, i) => s.view ? i : -1).filter(i => i >= 0);
    await Promise.all([this.panes[0].show(drawn[0]), this.panes[1].show(drawn[drawn.length - 1])]);
    return this;
  }
  resize() { for (const p of this.panes) p.resize(); }
  redraw() { for (const p of this.panes) p.redraw(); }
  legend() {
    return el("div", { class: "legend" }, ...this.phase.layers.map(i => el("button", { onclick: () => this.layer(i) },
      el("i", { class: "swatch", style: colour(D.layers[i][1]) }), D.layers[i][0])));
  }
  paint(byTime) {
    this.byTime = byTime;
    $(".heat", this.box.parentNode).textContent = byTime ? "colour by layer" : "colour by time";
    this.redraw();
  }
  layer(i) {
    const same = this.layerOn === i;
    this.layerOn = same ? null : i;
    this.look(same ? null : n => NODES[n[0]][3] === i);
    if (!same) this.tell(i);
  }
  tell(i) {                                        // of a layer: its nodes on the right, the kernels that compute them
    const pane = this.panes[1], own = pane.drawn ? pane.view.nodes.filter(n => NODES[n[0]][3] === i) : [];
    const steps = new Map();
    for (const n of own) if (n[7]) steps.set(n[7], (steps.get(n[7]) || new Set()).add(n[8]));
    const times = this.phase.times, took = s => times[s] === undefined ? "" : ` (${times[s]} µs)`;
    const kernels = [...steps].map(([k, at]) => el("div", {}, el("a", { href: "#" + k }, D.kernels[k]),
      " in step " + [...at].map(s => s + took(s)).join(", ")));
    const memory = $$("[data-jump]", $(".phase.on")).find(h => h.textContent === "Memory");
    const rows = [["nodes", own.map(n => el("div", {}, el("code", {}, n[6])))], ["kernels", kernels]];
    const dl = el("dl");
    for (const [k, v] of rows) dl.append(el("dt", {}, k), el("dd", {}, ...(v.length ? v : ["none here"])));
    this.detail.className = "detail";
    this.detail.replaceChildren(el("b", {}, D.layers[i][0]), " ", el("span", { class: "dim" }, "in " + pane.info.name),
      ...(memory ? [" ", el("a", { href: "#" + memory.id }, "what it keeps in memory")] : []), dl);
  }
  find(text) {
    const t = text.toLowerCase();
    this.layerOn = null;
    this.look(t ? n => `${n[4]} ${n[6]} ${D.layers[NODES[n[0]][3]][0]}`.toLowerCase().includes(t) : null);
  }
  look(match) {
    this.match = match;
    for (const p of this.panes) p.hits = match && p.drawn ? p.view.nodes.flatMap((n, i) => match(n) ? [i] : []) : [];
    this.count.textContent = match ? this.panes.map((p, i) => `${p.hits.length} ${i ? "right" : "left"}`).join(", ")
      + " (Enter: the next)" : "";
    this.turn = -1;
    if (match) this.next(); else this.redraw();
  }
  next() {                                         // the panes go from hit to hit together
    this.turn++;
    for (const p of this.panes) if (p.hits && p.hits.length) p.centre(p.hits[this.turn % p.hits.length]);
    this.redraw();
  }
  async select(c) {
    this.chosen = c;
    this.redraw();
    const [op, kind, type, layer, line, rule] = NODES[c.id], [where, code] = D.lines[line];
    const alive = el("span"), took = this.phase.times[c.step];
    const rows = [["text", el("code", {}, c.text)], ["type", type], ["op", `${op} (${kind})`],
      ["layer", D.layers[layer][0]], ["your line", code ? el("span", {}, where + "   ", el("code", {}, code)) : where],
      ["rule", rule || "none: it is as you wrote it"], ["in", alive],
      ["kernel", c.kernel ? el("a", { href: "#" + c.kernel }, D.kernels[c.kernel])
        : "not known: folded into others, rewritten or not computed"],
      ["step", c.step < 0 ? "" : `${c.step}` + (took === undefined ? "" : `, which takes ${took} µs`)]];
    const dl = el("dl");
    for (const [k, v] of rows) if (v) dl.append(el("dt", {}, k), el("dd", {}, v));
    const go = el("button", { onclick: () => { for (const p of this.panes) {
      const i = p.nodeOf(c.id);
      if (i >= 0) p.centre(i);
    } } }, "centre it in both panes");
    this.detail.className = "detail";
    this.detail.replaceChildren(el("b", {}, c.box ? c.text : op), " ", el("span", { class: "dim" },
      "in " + c.stage), " ", go, dl);
    const names = [];
    for (const s of this.phase.stages) if (s.view && (await view(s.view)).kin.has(kin(c.id))) names.push(s.name);
    alive.textContent = names.join(", ");
  }
}

// ---------------------------------------------------------------- texts, and parts that come when they are near
async function fill(pre, name) {
  const [kind] = name.split(":");
  pre.textContent = await (kind === "text" ? part(name) : data("listings").then(all => all[name]))
    .catch(e => e.message);
}
const ROWS = 120;                                                // of a long table that have elements to begin with
function long(table) {
  const body = table.tBodies[0], rows = table.all = [...body.rows], box = table.closest(".scroll");
  let shown = rows;
  const more = () => body.append(...shown.slice(body.rows.length, body.rows.length + ROWS));
  table.only = some => { shown = some; body.replaceChildren(...shown.slice(0, ROWS)); };
  table.only(rows);
  box.addEventListener("scroll", () => { if (box.scrollTop + 2 * box.clientHeight > box.scrollHeight) more(); });
}
const filled = {};
function come(place) {
  const name = place.dataset.part;
  return filled[name] ??= part(name).then(html => {
    const made = el("template");
    made.innerHTML = html;
    for (const table of $$("table", made.content)) if (table.tBodies[0].rows.length > ROWS) long(table);
    for (const pre of $$("pre[data-text]", made.content))
      pre.closest("details").addEventListener("toggle", e => {
        if (e.target.open && !pre.textContent) fill(pre, pre.dataset.text);
      });
    place.replaceChildren(made.content);
    place.classList.add("here");
  }).catch(e => { place.textContent = e.message; });
}
const near = new IntersectionObserver(seen => { for (const s of seen) if (s.isIntersecting) come(s.target); },
  { rootMargin: "500px" });
for (const place of $$(".place")) near.observe(place);
async function follow() {                                        // to a kernel that may still be packed
  if (!/^#[kb]\d+$/.test(location.hash)) return;
  await come($("#kernels .place"));
  const target = $(location.hash);
  if (target) { target.scrollIntoView(); location.replace(location.hash); }
}
window.addEventListener("hashchange", follow);

// ---------------------------------------------------------------- tabs, jumps, searches
document.documentElement.classList.add("js");          // where no script runs, all graphs stand one below the other
const explorers = {};
async function phase(i) {
  for (const s of $$(".phase")) s.classList.toggle("on", +s.dataset.phase === i);
  for (const t of $$(".tab")) t.classList.toggle("on", +t.dataset.phase === i);
  const heads = [...$$("[data-jump]", $(".phase.on")), ...$$("[data-jump]", $("#kernels"))];
  $(".jump").replaceChildren(...heads.map((h, k) => {
    h.id = h.id || `j${i}-${k}`;
    return el("a", { href: "#" + h.id }, h.textContent);
  }));
  if (explorers[i]) return explorers[i].resize();
  const root = $(`.explorer[data-phase="${i}"]`);
  explorers[i] = new Explorer(root, D.phases[i]);
  await explorers[i].open().catch(e => { root.textContent = e.message; });
}
for (const t of $$(".tab")) t.addEventListener("click", () => phase(+t.dataset.phase));
for (const b of $$("button.layer")) b.addEventListener("click", () => {
  const i = D.layers.findIndex(l => l[0] === b.dataset.layer), now = +$(".phase.on").dataset.phase;
  if (i >= 0) { explorers[now].layer(i); $(".explorer", $(".phase.on")).scrollIntoView({ block: "center" }); }
});
for (const input of $$("[data-for]")) input.addEventListener("input", async () => {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const place = $(`.place[data-part="${input.dataset.for}"]`);
  await come(place);
  const table = $(".notes", place), items = table ? table.all ?? [...table.tBodies[0].rows] : $$(".kernel", place);
  const some = new Set(items.filter(r => words.every(w => r.textContent.toLowerCase().includes(w))));
  if (table && table.only) table.only([...some]);
  else for (const r of items) r.style.display = some.has(r) ? "" : "none";
  $(".hits", input.parentNode).textContent = words.length ? `${some.size} of ${items.length}` : "";
});
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== width) Object.values(explorers).forEach(x => x.resize());
  width = window.innerWidth;
});
(async () => {                                     // ready: milliseconds from navigation until a drawing was painted
  if (D.phases.length) await phase(0);
  follow();
  requestAnimationFrame(() => setTimeout(() => { document.body.dataset.ready = Math.round(performance.now()); }));
})();
