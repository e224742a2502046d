// Before the first paint: says that scripts work, and takes the theme that was chosen last.
"use strict";
document.documentElement.classList.add("script");
try {
  const theme = localStorage.getItem("ecellm-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is closed to this page: the system's theme it is.
}
