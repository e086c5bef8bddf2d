"use strict";

const SITES = {
  commons: "https://commons.wikimedia.org/wiki/",
  meta: "https://meta.wikimedia.org/wiki/",
  species: "https://species.wikimedia.org/wiki/",
  d: "https://www.wikidata.org/wiki/",
  toolforge: "https://iw.toolforge.org/",
};

function resolve(link) {
  const [prefix, ...rest] = link.split(":");
  const base = SITES[prefix.trim().toLowerCase()];
  if (!base || !rest.length) return null;
  return base + encodeURIComponent(rest.join(":").trim().replace(/ /g, "_"));
}

module.exports = { resolve };
