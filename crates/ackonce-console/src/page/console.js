// Elements and texts are made one by one, never markup: IDs, scopes and reasons are of strangers.
const $ = (id) => document.getElementById(id);
function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
function vector(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Numbers and times.
const whole = new Intl.NumberFormat("en");
const number = (n) => whole.format(n);
const figure = (value, unit) => (unit && value < 10 ? value.toFixed(1) : number(Math.round(value)));
function size(bytes) {
  for (const [unit, of] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (bytes >= of) return `${(bytes / of).toFixed(1)} ${unit}`;
  return `${bytes} B`;
}
function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}
// The browser's clock may differ from that of the host, whose times these are.
let ahead = 0;
const now = () => Date.now() - ahead;
const relative = (ms) => (ms <= now() ? `${span(now() - ms)} ago` : `in ${span(ms - now())}`);
const exact = (ms) => `${new Date(ms).toLocaleString("sv")} (${new Date(ms).toISOString()})`;
function time(ms, full) {
  const text = full ? `${relative(ms)}, ${exact(ms)}` : relative(ms);
  return make("time", { datetime: new Date(ms).toISOString(), title: exact(ms) }, text);
}
const clock = (ms) => new Date(ms).toLocaleTimeString("sv");
const many = (n, one, more) => `${number(n)} ${n === 1 ? one : more}`;

// A table whose rows read as cards on a phone; the roles stay when the style is no table's.
function table(label, columns, rows) {
  const head = make("tr", { role: "row" }, ...columns.map((c) => make("th", { role: "columnheader", scope: "col", class: c.class }, c.name)));
  const body = rows.map((row) =>
    make("tr", { role: "row", class: row.class }, ...columns.map((c, i) => {
      const cell = row.cells[i];
      const zero = c.class === "n" && cell === "0" ? " zero" : "";
      return make("td", { role: "cell", class: (c.class ?? "") + zero, "data-label": c.name }, make("span", {}, cell ?? ""));
    })));
  return make("div", { class: "scroll" }, make("table", { role: "table", "aria-label": label },
    make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }, ...body)));
}
const empty = (sentence) => make("p", { class: "empty" }, sentence);
const pill = (state, text) => make("span", { class: `pill ${state}` }, text ?? state);
// Replaces the content, unless it is as it was: a reader or a selection would lose its place.
const shownAs = new WeakMap();
function show(place, key, build) {
  const text = JSON.stringify(key);
  if (shownAs.get(place) === text) return;
  shownAs.set(place, text);
  const had = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  place.replaceChildren(...[build()].flat());
  if (had) [...place.querySelectorAll("a[href]")].find((link) => link.getAttribute("href") === had)?.focus();
}
function named(scope, id, digest) {
  if (scope === null || id === null) {
    const text = digest ? `record ${digest.slice(0, 16)}…` : "name not kept";
    return make("span", { class: "quiet", title: "The store keeps no names of this record; its option names=keep does" }, text);
  }
  return make("a", { class: "id", href: `#find?${new URLSearchParams({ scope, id })}` }, id);
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body),
    headers: { "content-type": "application/json", "x-ackonce-console": "1" },
  };
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error("the console does not answer"); }
  if (answer.status === 401) { location.reload(); }
  const json = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  if (!answer.ok) throw new Error(json.error);
  return json;
}

// Charts.
const WINDOW = 600_000;
const TONES = { completed: "good", done: "good", failed: "bad", buried: "bad", duplicate: "wait", released: "wait" };
let charts = [];
let points = [];
let looked = null; // the point that is looked at, by number
function makeCharts(history) {
  points = history.points;
  charts = history.charts.map((chart, index) => {
    const value = make("span", { class: "value" });
    const svg = vector("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    const plot = make("div", { class: "plot", role: "img", tabindex: "0" }, svg);
    const [from, to] = [make("span"), make("span")];
    const ends = make("div", { class: "ends", "aria-hidden": "true" }, from, to);
    const card = make("div", { class: `card chart ${TONES[chart.key] ?? ""}`, id: `chart-${chart.key}`, title: chart.meaning },
      make("span", { class: "name" }, chart.title), value, plot, ends);
    const look = (number) => { looked = number; drawCharts(); };
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const [start, end] = range();
      const at = start + ((event.clientX - box.left) / box.width) * (end - start);
      const nearest = points.reduce((a, b) => (Math.abs(b.at_ms - at) < Math.abs(a?.at_ms - at || Infinity) ? b : a), null);
      look(nearest?.number ?? null);
    });
    plot.addEventListener("pointerleave", () => look(null));
    plot.addEventListener("blur", () => look(null));
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || points.length === 0) return;
      event.preventDefault();
      const at = looked === null ? points.length : points.findIndex((point) => point.number === looked);
      look(points[Math.min(points.length - 1, Math.max(0, at + step))].number);
    });
    return { chart, index, value, svg, plot, from, to, card };
  });
  $("charts").replaceChildren(...charts.map((c) => c.card));
  drawCharts();
}
function range() {
  const last = points.at(-1)?.at_ms ?? now();
  const first = points[0]?.at_ms ?? last;
  return [Math.min(first, last - 60_000), last];
}
function drawCharts() {
  const [start, end] = range();
  const x = (point) => ((point.at_ms - start) / (end - start)) * 100;
  const at = points.find((point) => point.number === looked);
  for (const { chart, index, value, svg, plot, from, to } of charts) {
    const values = points.map((point) => point.values[index]);
    const most = Math.max(1, ...values);
    const y = (v) => 97 - (v / most) * 92;
    const line = points.map((point) => `${x(point).toFixed(2)} ${y(point.values[index]).toFixed(2)}`).join("L");
    svg.replaceChildren(vector("path", { class: "base", d: "M0 97H100" }));
    if (points.length > 1) {
      svg.append(vector("path", { class: "area", d: `M${x(points[0]).toFixed(2)} 97L${line}L${x(points.at(-1)).toFixed(2)} 97Z` }),
        vector("path", { class: "curve", d: `M${line}` }));
    }
    if (at) svg.append(vector("path", { class: "cross", d: `M${x(at).toFixed(2)} 0V100` }));
    const seen = at ?? points.at(-1);
    value.replaceChildren(seen ? figure(seen.values[index], chart.unit) : "–", make("small", {}, chart.unit));
    from.textContent = points.length > 1 ? span(end - start) + " ago" : "waiting for two looks";
    to.textContent = at ? clock(at.at_ms) : points.length > 1 ? `most ${figure(most === 1 ? Math.max(0, ...values) : most, chart.unit)}${chart.unit}` : "";
    plot.setAttribute("aria-label", seen
      ? `${chart.title}: ${figure(seen.values[index], chart.unit)}${chart.unit} ${at ? `at ${clock(at.at_ms)}` : "now"}, at most ${figure(Math.max(...values), chart.unit)}${chart.unit} in the last ${span(end - start)}`
      : `${chart.title}: no values yet`);
  }
}
function addPoint(point) {
  if (!point || (points.length && point.number <= points.at(-1).number)) return;
  points.push(point);
  while (points[0].at_ms < point.at_ms - WINDOW && points.length > 600) points.shift();
  drawCharts();
}

// The state, once a second.
let state = null;
let writes = false;
let found = null; // the message that is shown
function draw(next) {
  state = next;
  ahead = Date.now() - next.at_ms;
  if (Math.abs(ahead) < 2000) ahead = 0;
  addPoint(next.point);
  if (writes !== next.writes) {
    writes = next.writes;
    drawSelection();
    if (found) $("found").replaceChildren(...message(found));
  }
  drawStore(next.store);
  drawRunning(next);
  drawRunners(next);
  drawScopes(next.store);
}
function drawStore(store) {
  $("store").textContent = $("store").title = store.name;
  const notes = [];
  if (store.trouble) notes.push(make("p", { class: "note bad", id: "trouble" }, `The store does not answer: ${store.trouble}`));
  if (store.weaknesses.length) {
    notes.push(make("div", { class: "note" }, "This set-up weakens the promise:",
      make("ul", {}, ...store.weaknesses.map((text) => make("li", {}, text)))));
  }
  show($("notes"), [store.trouble, store.weaknesses], () => notes);
  const answer = store.answer;
  $("asked").textContent = answer
    ? `${answer.bytes === null ? "" : `${size(answer.bytes)}, `}asked ${span(answer.age_ms)} ago, answered in ${span(answer.took_ms)}`
    : "asking the store";
}
function drawRunning({ running, program, runners }) {
  const own = program !== null || runners.length > 0;
  $("running-count").textContent = number(running.total);
  $("running-from").textContent = running.total > running.messages.length && running.messages.length > 0
    ? `the oldest ${number(running.messages.length)}` : own ? "with handlers of this program" : "claimed by workers, as the store has it";
  const lease = running.messages.some((message) => message.lease_ms !== null);
  const columns = [{ name: "Age", class: "n" }, { name: "Scope" }, { name: "Message ID" }, { name: "Attempt", class: "n" }];
  if (lease) columns.push({ name: "Lease ends in", class: "n" });
  show($("running"), running.messages.map((m) => [span(m.age_ms), m.scope, m.id, m.attempt, m.lease_ms && span(m.lease_ms)]), () => {
    if (running.messages.length === 0) {
      return empty(running.total > 0 ? "The store tells their number only." : own ? "No message is with a handler." : "No message is claimed.");
    }
    return table("Running now", columns, running.messages.map((m) => ({
      cells: [span(m.age_ms), m.scope ?? "", named(m.scope, m.id), number(m.attempt),
        m.lease_ms === null ? "" : m.lease_ms === 0 ? make("span", { class: "pill wait" }, "ended") : span(m.lease_ms)],
    })));
  });
}
const DELIVERIES = [["Delivered", "delivered"], ["In flight", "in_flight"], ["Completed", "completed"], ["Duplicates", "duplicate"],
  ["Of buried", "duplicate_of_buried"], ["Stale", "stale"], ["Retried", "retried"], ["Buried", "buried"], ["Handed back", "handed_back"], ["Busy", "busy"],
  ["Leases lost", "lease_lost"], ["Store errors", "store_unavailable"]];
function drawRunners({ runners, program }) {
  $("runners-card").hidden = program === null && runners.length === 0;
  if (program !== null) {
    show($("program"), [program.name, program.live, program.ready, program.lag], () => [
      ...(program.lag === null ? [] : [`lag ${number(program.lag)} `]),
      program.live ? pill("good", "live") : pill("bad", "not live"), " ",
      program.ready ? pill("good", "ready") : pill("wait", "not ready"),
    ]);
    $("report").textContent = program.report;
  }
  const rows = runners.map((runner) => [runner.scope, runner.class, ...DELIVERIES.map(([, key]) => number(runner[key]))]);
  show($("runners"), rows, () => rows.length === 0 ? empty("No runner has been made yet.")
    : table("Deliveries since the start", [{ name: "Scope" }, { name: "Class" }, ...DELIVERIES.map(([name]) => ({ name, class: "n" }))],
      rows.map((cells) => ({ cells }))));
}
const STATES = ["claimed", "released", "done", "buried"];
function drawScopes({ answer }) {
  show($("scopes"), answer && [answer.total, answer.scopes], () => {
    if (!answer) return empty("The store has not answered yet.");
    if (answer.scopes.length === 0) return empty("The store remembers nothing yet: records appear with the first message.");
    const cells = (name, counts, scope) => [name, ...STATES.map((state) => counts[state] > 0 && scope !== null
      ? make("a", { href: `#records?${new URLSearchParams({ state, scope })}` }, number(counts[state])) : number(counts[state]))];
    const rows = answer.scopes.map((row) => ({
      cells: cells(row.scope ?? make("span", { class: "quiet", title: "The store keeps names of claimed and buried records only; its option names=keep keeps all" }, "names not kept"), row, row.scope),
    }));
    if (answer.scopes.length > 1) rows.push({ class: "sum", cells: cells("All", answer.total, "") });
    const shown = table("Records by scope and state", [{ name: "Scope" }, ...STATES.map((state) => ({ name: state[0].toUpperCase() + state.slice(1), class: "n" }))], rows);
    return answer.further_scopes === 0 ? shown : [shown, empty(`${many(answer.further_scopes, "further scope is", "further scopes are")} not listed.`)];
  });
  show($("scope-names"), answer?.scopes.map((row) => row.scope), () =>
    (answer?.scopes ?? []).filter((row) => row.scope !== null).map((row) => make("option", { value: row.scope })));
}

// One stream for the page. A tab that nobody sees lets go of it after a minute, and with it of the store.
let stream = null;
let hiding = null;
let lost = null;
function live(word, tone) {
  $("live").textContent = word;
  $("live").className = `pill ${tone}`;
}
function open() {
  stream?.close();
  stream = new EventSource("api/live");
  stream.addEventListener("history", (event) => makeCharts(JSON.parse(event.data)));
  stream.addEventListener("state", (event) => {
    clearTimeout(lost);
    lost = null;
    live("live", "good");
    draw(JSON.parse(event.data));
  });
  stream.addEventListener("error", () => {
    // Each stream ends after some minutes, and the next one follows.
    lost ??= setTimeout(() => live("reconnecting", "bad"), 3000);
    // The browser gives up after an answer that is no stream; the token may be asked for anew.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => { if (stream?.readyState === EventSource.CLOSED) open(); }, 5000);
  });
}
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => { stream?.close(); stream = null; live("paused", "wait"); }, 60_000);
  else if (!stream) open();
});
addEventListener("pagehide", () => stream?.close());
addEventListener("pageshow", (event) => { if (event.persisted) open(); });

// Find a message.
async function find(scope, id) {
  $("find-scope").value = scope;
  $("find-id").value = id;
  const place = $("found");
  try {
    found = await ask(`api/show?${new URLSearchParams({ scope, id })}`);
    place.replaceChildren(...message(found));
  } catch (error) {
    found = null;
    place.replaceChildren(make("p", { class: "note bad", role: "alert" }, error.message));
  }
}
function message({ scope, id, sentence, record, audit }) {
  const head = make("div", { class: "head" }, make("h2", {}, make("span", { class: "id" }, id), " ", make("span", { class: "quiet" }, `in ${scope}`)),
    record ? pill(record.state) : pill("", "no record"));
  const cards = [make("section", { class: "card", "aria-label": "Answer" }, head,
    make("div", { class: "pad" }, make("p", { class: "sentence", id: "sentence" }, sentence)))];
  if (record) {
    const facts = [
      ["State", record.state], ["Attempts", number(record.attempt)],
      ["Last claimed", time(record.claimed_at, true)],
      record.free_at && [record.state === "claimed" ? "Lease ends" : "Back-off ends", time(record.free_at, true)],
      ["Forgotten", time(record.expires_at, true)],
      ["Fence", make("span", { class: "mono", title: "The store's clock in microseconds at the last claim, or one more than the last fence" }, record.fence)],
      record.reason !== null && ["Reason", record.reason],
      record.outcome && ["Outcome", [make("span", { class: "quiet" }, many(record.outcome.bytes, "byte", "bytes")), make("pre", { tabindex: "0", "aria-label": "Outcome" }, record.outcome.text)]],
      ["Digest", make("span", { class: "mono" }, record.digest)],
    ];
    const list = make("dl", { class: "pad", id: "facts" }, ...facts.filter(Boolean).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, ...[value].flat())]));
    cards.push(make("section", { class: "card", "aria-label": "Record" }, make("div", { class: "head" }, make("h2", {}, "Record"), make("span", { class: "right" }, actions([record]))), list));
  }
  cards.push(make("section", { class: "card", "aria-label": "Changes by hand" }, make("div", { class: "head" }, make("h2", {}, "Changes by hand")),
    audit.length === 0 ? empty("Nobody has changed this record by hand.")
      : table("Changes by hand", [{ name: "When", class: "fixed" }, { name: "Change" }, { name: "Until then" }, { name: "Actor" }, { name: "Reason" }],
        audit.map((change) => ({ cells: [time(change.at), change.operation, pill(change.before), change.actor, change.reason] })))));
  return cards;
}
function actions(records) {
  const only = writes ? undefined : "This console only reads; it was started without --allow-writes";
  const button = (verb, text, tone, possible) => make("button", {
    type: "button", class: tone, disabled: !writes || !possible, title: only, id: `${verb}-one`, on: { click: () => confirmChange(verb, records) },
  }, text);
  const [record] = records;
  return make("span", { class: "buttons" }, writes ? null : make("span", { class: "quiet small" }, "read only"),
    button("redrive", "Redrive…", "", record.state !== "claimed"), button("forget", "Forget…", "danger", true));
}
$("find-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const to = `#find?${new URLSearchParams({ scope: $("find-scope").value, id: $("find-id").value })}`;
  if (location.hash === to) route(); else location.hash = to;
});

// Dead letters.
let filter = { state: "buried" };
let page = { records: [], next: null, first: true };
let picked = new Set();
const keyOf = (record) => record.digest;
async function listReasons() {
  try {
    const { reasons, looked_at, complete } = await ask("api/reasons");
    $("reasons-of").textContent = complete ? many(looked_at, "buried message", "buried messages") : `of the first ${number(looked_at)} that were found`;
    const most = Math.max(...reasons.map((r) => r.records), 1);
    $("reasons").replaceChildren(reasons.length === 0 ? empty("No message is buried: nothing has been given up.")
      : make("ul", { class: "reasons" }, ...reasons.map(({ reason, records }) => {
        const share = make("span", { class: "share" });
        share.style.width = `${Math.max(1, (records / most) * 100)}%`;
        const href = `#records?${new URLSearchParams({ state: "buried", reason })}`;
        return make("li", {}, share, make("span", { class: "n" }, number(records)), make("a", { href }, reason || "(no reason)"));
      })));
  } catch (error) {
    $("reasons").replaceChildren(empty(error.message));
  }
}
async function list(after) {
  const query = new URLSearchParams({ ...filter, limit: "50" });
  if (after) query.set("after", after);
  $("records-count").textContent = "asking the store";
  try {
    let found = await ask(`api/records?${query}`);
    const records = found.records;
    // A page may end early, even without a record.
    while (records.length === 0 && found.next) {
      query.set("after", found.next);
      found = await ask(`api/records?${query}`);
      records.push(...found.records);
    }
    page = { records, next: found.next, first: !after };
  } catch (error) {
    page = { records: [], next: null, first: !after, error: error.message };
  }
  picked = new Set();
  drawRecords();
}
function drawRecords() {
  const { records, next, first, error } = page;
  $("records-count").textContent = error ? "" : `${many(records.length, "record", "records")}${first ? "" : " on this page"}${next ? ", more follow" : ""}`;
  $("first-page").disabled = first;
  $("next-page").disabled = !next;
  const columns = [{ name: "Pick", class: "pick" }, { name: "Last claimed", class: "fixed" }, { name: "Scope" }, { name: "Message ID" }, { name: "Attempts", class: "n" },
    ...(filter.state ? [] : [{ name: "State" }]), { name: "Reason", class: "reason" }];
  $("listing").replaceChildren(error ? empty(error) : records.length === 0 ? empty("No record has all of that.")
    : table("Records", columns, records.map((record) => {
      const box = make("input", { type: "checkbox", "aria-label": `Pick ${record.id ?? record.digest}`, on: { change: () => {
        if (box.checked) picked.add(keyOf(record)); else picked.delete(keyOf(record));
        drawSelection();
      } } });
      return { cells: [box, time(record.claimed_at), record.scope ?? "", named(record.scope, record.id, record.digest), number(record.attempt),
        ...(filter.state ? [] : [pill(record.state)]), record.reason ?? ""] };
    })));
  drawSelection();
}
function drawSelection() {
  const none = picked.size === 0 || !writes;
  $("pick-all").disabled = page.records.length === 0;
  $("pick-all").textContent = page.records.length > 0 && picked.size === page.records.length ? "Pick none" : "Pick all shown";
  for (const button of [$("redrive-selected"), $("forget-selected")]) {
    button.disabled = none;
    button.title = writes ? "" : "This console only reads; it was started without --allow-writes";
  }
  $("selected").textContent = !writes ? "read only: started without --allow-writes" : picked.size === 0 ? "pick records to redrive or forget" : `${many(picked.size, "record", "records")} picked`;
}
$("records-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = { state: $("by-state").value, scope: $("by-scope").value, reason: $("by-reason").value, older_than: $("by-age").value };
  const to = `#records?${new URLSearchParams(Object.entries(wanted).filter(([, value]) => value))}`;
  if (location.hash === to) route(); else location.hash = to;
});
$("pick-all").addEventListener("click", () => {
  const boxes = [...document.querySelectorAll("#listing input[type=checkbox]")];
  const all = boxes.some((box) => !box.checked);
  for (const box of boxes) if (box.checked !== all) box.click();
});
$("first-page").addEventListener("click", () => list());
$("next-page").addEventListener("click", () => list(page.next));
for (const verb of ["redrive", "forget"]) {
  $(`${verb}-selected`).addEventListener("click", () => confirmChange(verb, page.records.filter((record) => picked.has(keyOf(record)))));
}

// Changes by hand.
const CHANGE = {
  redrive: ["Redrive", "Each record is freed, so that the next delivery of its message runs. Ackonce has no payloads: deliver the messages again, such as by publishing their dead letters."],
  forget: ["Forget", "Each record is removed, and the next delivery of its message runs as if it were the first, even if its effect has happened."],
};
let changing = null;
function confirmChange(verb, records) {
  changing = { verb, records, done: false };
  const [word, text] = CHANGE[verb];
  $("confirm-title").textContent = `${word} ${many(records.length, "message", "messages")}?`;
  $("confirm-text").textContent = text;
  $("confirm-list").replaceChildren(...records.map((record) => make("li", {}, record.id ?? `record ${record.digest.slice(0, 16)}…`, make("span", { class: "quiet" }, record.scope ? ` in ${record.scope}` : ""))));
  $("go").textContent = word;
  $("go").disabled = false;
  $("go").className = verb === "forget" ? "danger" : "main";
  $("cancel").textContent = "Cancel";
  $("confirm-result").textContent = "";
  $("reason").value = "";
  $("actor").value = localStorage.getItem("ackonce-actor") ?? "";
  $("confirm").showModal();
  ($("actor").value ? $("reason") : $("actor")).focus();
}
$("confirm-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { verb, records } = changing;
  const [actor, reason] = [$("actor").value, $("reason").value];
  localStorage.setItem("ackonce-actor", actor);
  $("go").disabled = true;
  const counts = { yes: 0, nothing: 0, "in-flight": 0 };
  let failed = null;
  for (const [index, { scope, id, digest, state, fence }] of records.entries()) {
    $("confirm-result").textContent = `${number(index + 1)} of ${number(records.length)}`;
    try {
      const target = scope !== null && id !== null ? { scope, id } : { digest };
      counts[(await ask(`api/${verb}`, { ...target, state, fence, actor, reason })).outcome] += 1;
    } catch (error) { failed = error.message; break; }
  }
  const said = [`${verb === "redrive" ? "Redriven" : "Forgotten"}: ${number(counts.yes)}.`];
  if (counts.nothing) said.push(`Gone or changed since: ${number(counts.nothing)}.`);
  if (counts["in-flight"]) said.push(`Held by a worker, left alone: ${number(counts["in-flight"])}.`);
  if (failed) said.push(`Stopped: ${failed}`);
  $("confirm-result").textContent = said.join(" ");
  $("cancel").textContent = "Close";
  $("cancel").focus();
  changing.done = true;
});
$("cancel").addEventListener("click", () => $("confirm").close());
$("confirm").addEventListener("close", () => { if (changing?.done) route(); });

// Views by the address, so that an answer can be sent as a link.
function route() {
  const [view, query] = (location.hash.slice(1) || "now").split("?", 2);
  const known = ["now", "find", "records"].includes(view) ? view : "now";
  for (const section of document.querySelectorAll(".view")) section.hidden = section.id !== `view-${known}`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === known) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  const wanted = Object.fromEntries(new URLSearchParams(query ?? ""));
  if (known === "find" && wanted.scope && wanted.id) find(wanted.scope, wanted.id);
  if (known === "records") {
    filter = query ? { ...wanted } : { state: "buried" };
    $("by-state").value = filter.state ?? "";
    $("by-scope").value = filter.scope ?? "";
    $("by-reason").value = filter.reason ?? "";
    $("by-age").value = filter.older_than ?? "";
    listReasons();
    list();
  }
}
addEventListener("hashchange", () => { if (location.hash !== "#main") route(); });

// Keys.
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox") return;
  const views = { 1: "now", 2: "find", 3: "records" };
  if (views[event.key]) location.hash = `#${views[event.key]}`;
  else if (event.key === "/") { location.hash = "#find"; event.preventDefault(); setTimeout(() => $("find-scope").focus()); }
  else if (event.key === "?") $("help").showModal();
});
$("help-close").addEventListener("click", () => $("help").close());

// Colours.
const THEMES = { "": ["Auto", "as the system"], light: ["Light", "light"], dark: ["Dark", "dark"] };
function paint(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = THEMES[theme][0];
  $("theme").setAttribute("aria-label", `Colours: ${THEMES[theme][1]}`);
}
paint(localStorage.getItem("ackonce-theme") in THEMES ? localStorage.getItem("ackonce-theme") : "");
$("theme").addEventListener("click", () => {
  const all = Object.keys(THEMES);
  const next = all[(all.indexOf(document.documentElement.dataset.theme) + 1) % all.length];
  localStorage.setItem("ackonce-theme", next);
  paint(next);
});

drawSelection();
route();
open();
