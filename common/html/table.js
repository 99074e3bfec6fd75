"use strict";
// Tables of the class "sortable" are sorted by a click on a head, and filtered by words where their section has a filter.
(() => {
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const numberOf = (cell) => {
    const value = parseFloat(cell.dataset.value ?? cell.textContent);
    return Number.isNaN(value) ? -Infinity : value;
  };

  const makeSortable = (table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const order = new Map(rows.map((row, index) => [row, index]));
    const sortBy = (column, head) => {
      const numeric = head.classList.contains("number");
      // Numbers start with the highest, which is what one looks for; names start with A.
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
      const direction = head.getAttribute("aria-sort") === first ? second : first;
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? direction : "none"));
      const sign = direction === "ascending" ? 1 : -1;
      // Read once: 4000 rows would otherwise be parsed anew for every comparison.
      const keys = new Map(rows.map((row) => [row, numeric ? numberOf(row.cells[column]) : row.cells[column].textContent]));
      const compare = numeric
        ? (a, b) => (keys.get(a) > keys.get(b)) - (keys.get(a) < keys.get(b))
        : (a, b) => collator.compare(keys.get(a), keys.get(b));
      body.append(...[...rows].sort((a, b) => sign * compare(a, b) || order.get(a) - order.get(b)));
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sortBy(column, head));
    });
  };

  const openRows = (table) => {
    const body = table.tBodies[0];
    [...body.rows].forEach((row) => row.classList.toggle("opens", row.querySelector("a") !== null));
    body.addEventListener("click", (event) => {
      const link = event.target.closest("tr").querySelector("a");
      // A click on the link itself goes there anyway, and one that ends a selection of text wants to copy.
      if (link && event.target.closest("a") === null && String(getSelection()) === "") link.click();
    });
  };

  const addFilter = (filter, rows) => {
    const words = rows.map((row) => row.textContent.toLowerCase());
    // What a row's link leads to is shown and hidden with the row.
    const targets = rows.map((row) => {
      const link = row.querySelector('a[href^="#"]');
      return link && document.getElementById(link.hash.slice(1));
    });
    const input = filter.querySelector("input");
    const count = filter.querySelector("output");
    const show = () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, index) => {
        row.hidden = !wanted.every((word) => words[index].includes(word));
        if (targets[index]) targets[index].hidden = row.hidden;
        shown += !row.hidden;
      });
      count.textContent = wanted.length ? `${shown} of ${rows.length}` : "";
    };
    input.addEventListener("input", show);
    filter.hidden = false;
    show(); // a reloaded page keeps the text of its filter
  };

  document.querySelectorAll("table.sortable").forEach((table) => {
    const filter = table.closest("section").querySelector(".filter");
    if (filter) addFilter(filter, [...table.tBodies[0].rows]);
    makeSortable(table);
    openRows(table);
  });
})();
