"""Citation counter: how many references does an article have?"""

from flask import Flask, render_template, request
from wikitext import count_references

app = Flask(__name__)

EXAMPLE = """== Early life ==
Ada was born in London.<ref>{{cite book|title=Lives}}</ref>

== Work ==
She wrote the first programme.
"""


@app.get("/")
@app.post("/")
def index():
    text = request.form.get("text", EXAMPLE)
    return render_template("index.html", text=text, result=count_references(text))


@app.get("/healthz")
def healthz():
    return "ok"
