"use strict";
(() => {
  const table = document.getElementById("videos");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];

  // Read once: 4000 rows would otherwise be parsed anew for every comparison.
  const words = rows.map((row) => row.textContent.toLowerCase());
  const order = new Map(rows.map((row, index) => [row, index]));
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const numberOf = (cell) => {
    const value = parseFloat(cell.dataset.value ?? cell.textContent);
    return Number.isNaN(value) ? -Infinity : value;
  };

  const sortBy = (column, head) => {
    const numeric = head.classList.contains("number");
    // Numbers start with the highest, which is what one looks for; names start with A.
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const direction = head.getAttribute("aria-sort") === first ? second : first;
    heads.forEach((other) => other.setAttribute("aria-sort", other === head ? direction : "none"));
    const sign = direction === "ascending" ? 1 : -1;
    const keys = new Map(rows.map((row) => [row, numeric ? numberOf(row.cells[column]) : row.cells[column].textContent]));
    const compare = numeric
      ? (a, b) => (keys.get(a) > keys.get(b)) - (keys.get(a) < keys.get(b))
      : (a, b) => collator.compare(keys.get(a), keys.get(b));
    const sorted = [...rows].sort((a, b) => sign * compare(a, b) || order.get(a) - order.get(b));
    body.append(...sorted);
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sortBy(column, head)));

  rows.forEach((row) => row.classList.toggle("opens", row.querySelector("a") !== null));
  body.addEventListener("click", (event) => {
    const link = event.target.closest("tr").querySelector("a");
    // A click on the link itself goes there anyway, and one that ends a selection of text wants to copy.
    if (link && event.target.closest("a") === null && String(getSelection()) === "") link.click();
  });

  const filter = document.getElementById("filter");
  const input = filter.querySelector("input");
  const count = filter.querySelector("output");
  const show = () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !wanted.every((word) => words[index].includes(word));
      shown += !row.hidden;
    });
    count.textContent = wanted.length ? `${shown} of ${rows.length}` : "";
  };
  input.addEventListener("input", show);
  filter.hidden = false;
  show(); // a reloaded page keeps the text of its filter
})();
