// Draws the diagrams of the site, which GitLab draws by itself.
mermaid.initialize({
  startOnLoad: false,
  theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "default",
});
mermaid.run({ querySelector: "code.language-mermaid" });
