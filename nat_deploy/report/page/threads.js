// All measures at once: one horizontal axis each, better to the right, each network a thread through them. The handle on an axis limits it.
{
  const place = document.getElementById("threads"), left = document.getElementById("within-limits"), clear = document.getElementById("clear-limits");
  const STEP = 66, TOP = 40, SIDE = 10, STEPS = 200, REACH = 16;
  const ends = data.measures.map((measure, index) => measure.more ? extent(index) : extent(index).reverse());  // worst, best
  const share = (index, value) => ends[index][0] === ends[index][1] ? 1 : (value - ends[index][0]) / (ends[index][1] - ends[index][0]);
  let width = 0, threads = [];

  const handles = data.measures.map((measure, index) => {
    const handle = Object.assign(document.createElement("input"), { type: "range", className: "limit", min: 0, max: STEPS, value: 0 });
    handle.style.top = `${TOP + index * STEP - 14}px`;
    handle.setAttribute("aria-label", `${measure.name}: ${measure.more ? "at least" : "at most"}`);
    handle.addEventListener("input", () => {
      const at = Number(handle.value) / STEPS;
      state.limits[index] = at === 0 ? null : ends[index][0] + at * (ends[index][1] - ends[index][0]) * (1 + 1e-12);
      if (at === 1) state.limits[index] = ends[index][1];
      show();
    });
    return handle;
  });
  clear.addEventListener("click", () => {
    handles.forEach((handle, index) => { handle.value = 0; state.limits[index] = null; });
    show();
  });

  const x = (index, value) => SIDE + share(index, value) * (width - 2 * SIDE), y = index => TOP + index * STEP;
  const points = network => network.values.map((value, index) => value === null ? null : [x(index, value), y(index)]);
  const path = found => found.map((point, k) => point === null ? "" : `${k === 0 || found[k - 1] === null ? "M" : "L"}${point[0].toFixed(1)} ${point[1]}`).join("");

  const draw = () => {
    width = place.clientWidth || 640;
    const height = TOP + (data.measures.length - 1) * STEP + 34;
    const plot = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "All measures of all networks, better to the right" });
    threads = data.networks.map(points);
    threads.forEach((found, index) => {
      if (index === state.now) return;
      const network = data.networks[index];
      plot.append(element("path", { class: `thread ${network.role}${within(network) ? "" : " out"}`, d: path(found) }));
    });
    plot.append(element("path", { class: "thread now", d: path(threads[state.now]) }));
    data.measures.forEach((measure, index) => {
      const limit = state.limits[index], value = data.networks[state.now].values[index];
      plot.append(element("path", { class: "grid", d: `M${SIDE} ${y(index)}H${width - SIDE}`, "stroke-width": 2 }));
      const asked = limit === null ? "" : `, ${measure.more ? "at least" : "at most"} ${shown(limit)}`;
      plot.append(element("text", { class: "halo", x: 0, y: y(index) - 22 }, measure.axis + asked));
      plot.append(element("text", { class: "mute", x: SIDE, y: y(index) + 26 }, shown(ends[index][0])));
      plot.append(element("text", { class: "mute", x: width - SIDE, y: y(index) + 26, "text-anchor": "end" }, shown(ends[index][1])));
      if (measure.budget !== null && share(index, measure.budget) >= 0 && share(index, measure.budget) <= 1)
        plot.append(element("path", { class: "budget", d: `M${x(index, measure.budget)} ${y(index) - 12}v24` }));
      if (value === null) return;
      const at = x(index, value);
      plot.append(element("circle", { class: "mark now", cx: at, cy: y(index), r: 4.5, fill: "var(--text)" }));
      plot.append(element("text", { class: "halo", x: Math.max(90, Math.min(width - 90, at)), y: y(index) + 26, "text-anchor": "middle" }, shown(value)));
    });
    const focused = document.activeElement;
    place.querySelector("svg")?.remove();
    place.prepend(plot);
    if (!handles[0].isConnected) place.append(...handles);
    if (handles.includes(focused)) focused.focus({ preventScroll: true });
    const number = data.networks.filter(within).length;
    left.textContent = `${number} of ${data.networks.length} networks are within the limits.`;
    clear.hidden = state.limits.every(limit => limit === null);
  };
  const meant = event => {
    const box = place.getBoundingClientRect(), px = event.clientX - box.left, at = (event.clientY - box.top - TOP) / STEP;
    const row = Math.max(0, Math.min(data.measures.length - 2, Math.floor(at))), t = Math.max(0, Math.min(1, at - row));
    let nearest = [REACH, -1];
    threads.forEach((found, index) => {
      const [from, to] = [found[row], found[row + 1]];
      if (!from || !to || !within(data.networks[index])) return;
      const distance = Math.abs(from[0] + t * (to[0] - from[0]) - px);
      if (distance <= nearest[0]) nearest = [distance, index];
    });
    if (nearest[1] >= 0 && nearest[1] !== state.now) { state.now = nearest[1]; show(); }
  };
  if (data.measures.length > 1) {
    place.addEventListener("pointermove", event => { if (!event.buttons) meant(event); });
    place.addEventListener("click", meant);
  }
  new ResizeObserver(() => { if (place.clientWidth !== width) draw(); }).observe(place);
  drawings.push(draw);
}
show();
