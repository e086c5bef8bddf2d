"use strict";

const http = require("http");
const { resolve } = require("./links");

const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/healthz") {
    response.end("ok");
    return;
  }
  const link = url.searchParams.get("link") || "commons:File:Example.jpg";
  const target = resolve(link);
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(`<!doctype html><title>Interwiki links</title><h1>Interwiki links</h1>
<form><input name="link" value="${escape(link)}" size="40"> <button>Resolve</button></form>
<p>${target ? `<a href="${escape(target)}">${escape(target)}</a>` : "No such prefix."}</p>`);
});

server.listen(process.env.PORT || 8000, "0.0.0.0");
