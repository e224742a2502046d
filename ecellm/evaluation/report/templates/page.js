// Shows one section at a time, by the address's hash; the theme; all there is on paper.
"use strict";
(() => {
  const sections = [...document.querySelectorAll(".page")];
  const links = [...document.querySelectorAll("#contents a")];
  const contents = document.getElementById("contents");
  const menuButton = document.getElementById("menu-button");

  function openMenu(isOpen) {
    contents.classList.toggle("open", isOpen);
    menuButton.setAttribute("aria-expanded", String(isOpen));
  }

  // A hash names a section (with a query behind it for samples) or something inside one.
  function hashName() {
    try {
      return decodeURIComponent(location.hash.slice(1)).split("?")[0];
    } catch {
      return ""; // "%" with nothing encoded behind it names nothing
    }
  }

  function showSection(event) {
    const target = document.getElementById(hashName());
    const section = (target && target.closest(".page")) || sections[0];
    for (const each of sections) each.classList.toggle("current", each === section);
    for (const link of links) {
      if (link.hash === `#${section.id}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    openMenu(false);
    if (target && target !== section) target.scrollIntoView();
    else {
      scrollTo(0, 0);
      if (event.type === "hashchange") focusTitle(section); // so that a keyboard or screen reader goes on from there
    }
    document.dispatchEvent(new CustomEvent("section", { detail: section.id }));
  }

  function focusTitle(section) {
    const title = section.querySelector("h1");
    title.tabIndex = -1;
    title.focus({ preventScroll: true });
  }
  addEventListener("hashchange", showSection);

  // The content is the section that is shown: the address stays.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  menuButton.addEventListener("click", () => openMenu(!contents.classList.contains("open")));

  const themes = ["auto", "light", "dark"];
  const themeButton = document.getElementById("theme-button");
  const root = document.documentElement;

  // auto = as the system has it
  function nameTheme() {
    themeButton.textContent = `Theme: ${root.dataset.theme || "auto"}`;
  }
  themeButton.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % themes.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("ecellm-theme", next);
    } catch {
      // Storage is closed to this page: the choice holds until it is loaded again.
    }
    nameTheme();
  });
  nameTheme();

  // Figures that are folded away belong on paper.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.sample)")];
    for (const each of opened) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
  });

  // The samples' script below must be listening before the first section is shown.
  document.addEventListener("DOMContentLoaded", showSection);
})();
