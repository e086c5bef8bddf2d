"""Citation counter: how many references does an article have, and which are reused?"""

from flask import Flask, jsonify, render_template, request
from wikitext import count_references

app = Flask(__name__)

EXAMPLE = """== Early life ==
Ada was born in London.<ref name="lives">{{cite book|title=Lives}}</ref>

== Work ==
She wrote the first programme.<ref name="lives" />

== Legacy ==
A language is named after her.
"""


@app.get("/")
@app.post("/")
def index():
    text = request.form.get("text", EXAMPLE)
    return render_template("index.html", text=text, result=count_references(text))


@app.post("/api/count")
def api_count():
    return jsonify(count_references(request.get_data(as_text=True)))


@app.get("/healthz")
def healthz():
    return "ok"
