"use strict";

const SITES = {
  commons: "https://commons.wikimedia.org/wiki/",
  meta: "https://meta.wikimedia.org/wiki/",
  species: "https://species.wikimedia.org/wiki/",
  d: "https://www.wikidata.org/wiki/",
  toolforge: "https://iw.toolforge.org/",
};

const LANGUAGES = new Set("ar bn cs de el en eo es fa fi fr he hi hu id it ja ko nl pl pt ru sv tr uk vi zh".split(" "));

function resolve(link) {
  const [first, ...rest] = link.split(":");
  const prefix = first.trim().toLowerCase();
  const base = LANGUAGES.has(prefix) ? `https://${prefix}.wikipedia.org/wiki/` : SITES[prefix];
  if (!base || !rest.length) return null;
  return base + encodeURIComponent(rest.join(":").trim().replace(/ /g, "_"));
}

module.exports = { resolve };
