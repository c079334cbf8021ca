"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);

  // Tables travel by column; Vega wants rows.
  const tables = {};
  for (const [name, columns] of Object.entries(figures.tables)) {
    const names = Object.keys(columns);
    const length = names.length ? columns[names[0]].length : 0;
    tables[name] = Array.from({ length }, (_, i) => Object.fromEntries(names.map((n) => [n, columns[n][i]])));
  }

  // ---- theme ----
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem("lockstep-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("lockstep-theme", theme); } catch { /* a page from disk may not */ } };
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const button = document.getElementById("theme");
  function showTheme() {
    root.classList.toggle("dark", isDark());
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(isDark()));
    button.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
  }
  const theme = remembered();
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  showTheme();

  // ---- charts ----
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;
  const colour = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const words = new Set(["values", "domain", "sort", "title", "description", "field", "oneOf"]); // from the data: never colours
  function dressed(spec) {
    if (typeof spec === "string") return /^@[a-z]+[0-9]?$/.test(spec) ? colour(spec.slice(1)) : spec;
    if (Array.isArray(spec)) return spec.map(dressed);
    if (spec === null || typeof spec !== "object") return spec;
    return Object.fromEntries(Object.entries(spec).map(([key, value]) => {
      if (key === "data" && value.name in tables) return [key, { values: tables[value.name] }];
      return [key, words.has(key) ? value : dressed(value)];
    }));
  }
  function config(narrow) {
    const font = getComputedStyle(document.body).fontFamily;
    const text = colour("text"), quiet = colour("quiet"), line = colour("line"), axis = colour("axis");
    return {
      aria: false, background: null, font, padding: 0,
      view: { stroke: null },
      axis: { labelColor: quiet, titleColor: quiet, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, titlePadding: 8,
        labelPadding: 5, gridColor: line, domainColor: axis, tickColor: axis, tickSize: 4, labelFlush: false },
      axisY: { domain: false, ticks: false },
      axisYDiscrete: { labelColor: text, labelLimit: narrow ? 140 : 190 },
      axisXQuantitative: { tickCount: narrow ? 5 : 8, labelOverlap: true, labelSeparation: 6 },
      legend: { orient: "top", direction: "horizontal", labelColor: text, titleColor: quiet, labelFontSize: 12, titleFontSize: 12,
        titleFontWeight: 500, symbolType: "stroke", symbolStrokeWidth: 3, symbolOpacity: 1, labelLimit: narrow ? 150 : 220,
        columns: narrow ? 2 : 4, offset: 6, padding: 0, rowPadding: 2, columnPadding: 14 },
      text: { font, fontSize: 12, color: text },
      bar: { cornerRadius: 1 },
    };
  }
  const drawn = new Map();
  async function draw(element) {
    const name = element.dataset.chart;
    drawn.get(name)?.finalize();
    const options = {
      mode: "vega-lite", renderer: "svg", ast: true, config: config(element.clientWidth < 480),
      actions: { export: true, source: false, compiled: false, editor: false }, downloadFileName: `lockstep-${name}`,
    };
    try {
      drawn.set(name, await window.vegaEmbed(element, dressed(figures.charts[name]), options));
      element.dataset.drawn = "yes";
    } catch (error) {
      console.error(`Chart ${name}:`, error);
      element.innerHTML = "<p class=\"failed\">This chart could not be drawn.</p>";
    }
  }
  // One pass at a time: a theme switched in the middle of a pass ends it and starts the next.
  let pass = 0, passes = Promise.resolve();
  function drawAll() {
    const mine = ++pass;
    delete root.dataset.charts;
    passes = passes.then(async () => {
      for (const element of document.querySelectorAll("[data-chart]")) {
        if (mine !== pass) return;
        await draw(element);
      }
      root.dataset.charts = "drawn";
    });
  }
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    showTheme();
    drawAll();
  });
  system.addEventListener("change", () => { showTheme(); drawAll(); });
  drawAll();

  // ---- copy ----
  async function copy(text) {
    try { await navigator.clipboard.writeText(text); return; } catch { /* not allowed here: the old way */ }
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  for (const b of document.querySelectorAll(".copy")) {
    b.addEventListener("click", async () => {
      await copy(b.parentElement.querySelector("code").textContent);
      b.textContent = "Copied";
      setTimeout(() => { b.textContent = "Copy"; }, 1500);
    });
  }

  // ---- sort ----
  const value = (row, i) => row.cells[i].textContent.trim();
  const asNumber = (text) => {
    const found = text.replace(/[,\u202f ]/g, "").replace(/\u2212/g, "-").match(/^-?(\d+\.?\d*|\.\d+)(e-?\d+)?/);
    return found ? Number(found[0]) : NaN;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("thead th").forEach((head, i) => {
      head.querySelector(".sort").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        const numeric = head.classList.contains("n");
        table.querySelectorAll("thead th").forEach((h) => h.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const order = (a, b) => {
          if (!numeric) return (up ? 1 : -1) * value(a, i).localeCompare(value(b, i), "en", { numeric: true });
          const [x, y] = [asNumber(value(a, i)), asNumber(value(b, i))];
          if (isNaN(x) || isNaN(y)) return Number(isNaN(x)) - Number(isNaN(y)); // the missing stay last
          return (up ? 1 : -1) * (x - y);
        };
        body.append(...Array.from(body.rows).sort(order));
      });
    });
  }

  // ---- where the reader is ----
  const links = new Map(Array.from(document.querySelectorAll("nav a"), (a) => [a.hash.slice(1), a]));
  const sections = Array.from(document.querySelectorAll("main > section")).map((s) => [s, links.get(s.id || "top")]);
  function mark() {
    const passed = sections.filter(([s]) => s.getBoundingClientRect().top < 140);
    const here = (passed.at(-1) ?? sections[0])[1];
    for (const [, link] of sections) {
      if (link === here) link.setAttribute("aria-current", "true"); else link?.removeAttribute("aria-current");
    }
  }
  addEventListener("scroll", mark, { passive: true });
  mark();
})();
