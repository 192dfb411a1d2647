// The front over two measures that the reader chooses. One stop of the Tab key; arrow keys go from network to network.
{
  const place = document.getElementById("front-plot");
  const across = document.getElementById("across"), upwards = document.getElementById("upwards");
  const REACH = 28;  // pixels around a network in which it is meant
  let dots = [];  // [x, y, index] of what is drawn

  for (const select of [across, upwards])
    select.append(...data.measures.map((measure, index) => new Option(measure.name, index)));
  across.value = String(Math.max(0, data.measures.findIndex(measure => !measure.more)));
  upwards.value = "0";

  const ticks = (low, high, most) => {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map(factor => factor * power).find(candidate => candidate >= rough);
    return Array.from({ length: Math.floor(high / step) - Math.ceil(low / step) + 1 }, (_, k) => Number(((Math.ceil(low / step) + k) * step).toPrecision(10)));
  };
  const axis = (index, start, end) => {
    let [low, high] = extent(index);
    const budget = data.measures[index].budget;
    if (budget !== null && budget > low && budget < high + 0.5 * (high - low)) high = Math.max(high, budget);
    const margin = 0.06 * (high - low) || Math.abs(high) * 0.1 || 1;
    low -= margin; high += margin;
    const at = value => start + (value - low) / (high - low) * (end - start);
    return { low, high, at, inside: value => at(Math.max(low, Math.min(high, value))) };
  };
  const shape = (role, x, y) => {
    if (role === "finalist") return element("path", { d: `M${x} ${y - 7}l7 7l-7 7l-7 -7z` });
    if (role !== "chosen") return element("circle", { cx: x, cy: y, r: role === "front" ? 4.5 : 3.5 });
    const corners = Array.from({ length: 10 }, (_, k) => {
      const angle = Math.PI * (k / 5 - 0.5), radius = k % 2 ? 4.5 : 10.5;
      return `${(x + radius * Math.cos(angle)).toFixed(1)} ${(y + radius * Math.sin(angle)).toFixed(1)}`;
    });
    return element("path", { d: `M${corners.join("L")}z` });
  };
  // Those that no other one beats in both, from left to right.
  const best = (a, b) => {
    const sign = index => data.measures[index].more ? -1 : 1;
    const known = data.networks.map((network, index) => [network.values[a], network.values[b], index]).filter(([x, y]) => x !== null && y !== null);
    known.sort((p, q) => sign(a) * (p[0] - q[0]) || sign(b) * (p[1] - q[1]));
    let least = Infinity;
    const kept = known.filter(([, y]) => sign(b) * y < least && ((least = sign(b) * y), true));
    return kept.sort((p, q) => p[0] - q[0]);
  };

  const draw = () => {
    const a = Number(across.value), b = Number(upwards.value);
    const width = place.clientWidth || 640, height = Math.round(Math.max(300, Math.min(460, width * 0.68)));
    const left = 52, right = width - 12, top = 30, bottom = height - 44;
    const x = axis(a, left, right), y = axis(b, bottom, top);
    const plot = element("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "group",
      "aria-label": `${data.measures[b].axis} over ${data.measures[a].axis}; left and right arrow keys go from network to network` });
    for (const tick of ticks(y.low, y.high, 6))
      plot.append(element("path", { class: "grid", d: `M${left} ${y.at(tick)}H${right}` }), element("text", { class: "mute", x: left - 8, y: y.at(tick) + 4, "text-anchor": "end" }, String(tick)));
    for (const tick of ticks(x.low, x.high, width < 450 ? 4 : 7))
      plot.append(element("path", { class: "grid", d: `M${x.at(tick)} ${bottom}v5` }), element("text", { class: "mute", x: x.at(tick), y: bottom + 18, "text-anchor": "middle" }, String(tick)));
    plot.append(element("text", { x: 0, y: 13 }, data.measures[b].axis), element("text", { x: right, y: height - 6, "text-anchor": "end" }, data.measures[a].axis));
    const stairs = best(a, b);
    if (a !== b && stairs.length > 1) {
      const steps = stairs.map(([u, v], k) => k === 0 ? `M${x.at(u)} ${y.at(v)}` : data.measures[a].more ? `V${y.at(v)}H${x.at(u)}` : `H${x.at(u)}V${y.at(v)}`);
      plot.append(element("path", { class: "best", d: steps.join("") }));
    }
    const bounds = [[a, x, budget => `M${x.at(budget)} ${top}V${bottom}`], [b, y, budget => `M${left} ${y.at(budget)}H${right}`]];
    for (const [index, scale, line] of bounds) {
      const { budget, bound } = data.measures[index];
      if (budget === null || budget < scale.low || budget > scale.high) continue;
      plot.append(element("path", { class: "budget", d: line(budget) }));
      const label = scale === x ? { x: x.at(budget) - 6, y: bottom - 8, "text-anchor": "end" } : { x: left + 6, y: y.at(budget) - 6 };
      if (scale === x && label.x < left + 90) Object.assign(label, { x: x.at(budget) + 6, "text-anchor": "start" });
      plot.append(element("text", { class: "over halo", ...label }, `budget ${bound}`));
    }
    dots = [];
    data.networks.forEach((network, index) => {
      const [u, v] = [network.values[a], network.values[b]];
      if (u === null || v === null) return;
      const [cx, cy] = [x.at(u), y.at(v)];
      dots.push([cx, cy, index]);
      const [wide, tall] = [network.intervals[a], network.intervals[b]];
      if (index === state.now || [wide, tall].some(interval => interval && interval[2] === "measured")) {
        const d = (wide ? `M${x.inside(wide[0])} ${cy}H${x.inside(wide[1])}` : "") + (tall ? `M${cx} ${y.inside(tall[0])}V${y.inside(tall[1])}` : "");
        if (d) plot.append(element("path", { class: `whisker ${network.role}`, d }));
      }
      const mark = shape(network.role, cx, cy);
      mark.setAttribute("class", `mark ${network.role}${within(network) ? "" : " out"}`);
      plot.append(mark);
    });
    const now = dots.find(([, , index]) => index === state.now);
    if (now) plot.append(element("circle", { class: "ring", cx: now[0], cy: now[1], r: 13 }));
    const chosen = dots.find(([, , index]) => data.networks[index].role === "chosen");
    if (chosen) {
      const end = chosen[0] > (left + right) / 2;
      plot.append(element("text", { class: "halo", x: chosen[0] + (end ? -17 : 17), y: chosen[1] + 4, "text-anchor": end ? "end" : "start" }, "chosen"));
    }
    const focused = place.contains(document.activeElement);
    place.replaceChildren(plot);
    if (focused) plot.focus({ preventScroll: true });
  };
  const meant = event => {
    const box = place.getBoundingClientRect();
    const near = dots.map(([x, y, index]) => [Math.hypot(event.clientX - box.left - x, event.clientY - box.top - y), index]);
    const [distance, index] = near.reduce((a, b) => b[0] <= a[0] ? b : a, [Infinity, -1]);
    if (distance <= REACH && index !== state.now) { state.now = index; show(); }
  };
  place.addEventListener("pointermove", meant);
  place.addEventListener("pointerdown", meant);
  place.addEventListener("keydown", event => {
    const order = dots.filter(([, , index]) => within(data.networks[index])).sort((p, q) => p[0] - q[0]);
    const at = order.findIndex(([, , index]) => index === state.now), last = order.length - 1;
    const to = { ArrowRight: Math.min(at + 1, last), ArrowLeft: at < 0 ? last : Math.max(at - 1, 0), Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    state.now = order[to][2];
    show();
  });
  across.addEventListener("change", draw);
  upwards.addEventListener("change", draw);
  new ResizeObserver(draw).observe(place);
  drawings.push(draw);
}
