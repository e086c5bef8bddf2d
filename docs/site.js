// Follows the reader's choice of light or dark, and draws the diagrams, which GitLab does by itself.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => (document.documentElement.dataset.bsTheme = dark.matches ? "dark" : "light");
follow();
dark.addEventListener("change", follow);
mermaid.initialize({ startOnLoad: false, theme: dark.matches ? "dark" : "default" });
mermaid.run({ querySelector: "code.language-mermaid" });
