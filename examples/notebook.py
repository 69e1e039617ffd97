# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From pages to personas to data, in a notebook
#
# Open this file in Jupyter with Jupytext, in VS Code, or run it: `python examples/notebook.py [HOME]`.
#
# It uses the stand-in, a rule-based writer that is not a language model, unless `PERSONAHUB_LLM_URL` names a server.

# %%
import os
import sys
from pathlib import Path

import polars as pl

from personahub_assets import Hub

home = Path(sys.argv[1] if len(sys.argv) == 2 else "notebook-hub")
examples = Path(__file__).parent if "__file__" in globals() else Path("examples")
hub = Hub(home, llm_url=os.environ.get("PERSONAHUB_LLM_URL", "standin:"))

# %% [markdown]
# ## Sources
#
# A file of texts or of personas becomes a batch. Registering a file twice does nothing.

# %%
home.mkdir(exist_ok=True)
(home / "hub.toml").write_text("[text_personas]\nper_document = 2\n\n[related_personas]\nhops = 1\nfan_out = 1\n")
batches = [key for name in ("notes.csv", "personas.jsonl") for key in hub.ingest(examples / name)]
print(batches)

# %% [markdown]
# ## Personas
#
# The plan counts the requests before anything is sent.

# %%
plan = hub.plan(select=["+personas"])
print(f"{plan.total.calls} calls")
hub.run(select=["+personas", "warehouse"]).raise_for_failure()

personas = hub.personas().collect()
print(personas.group_by("batch", "origin", "hop").len().sort("batch", "hop"))

# %% [markdown]
# What was dropped, and for which persona:

# %%
drops = """
    SELECT d.stage, d.similarity, dropped.persona, kept.persona AS kept_instead
    FROM duplicates AS d
    JOIN candidate_personas AS dropped ON dropped.persona_id = d.persona_id
    JOIN candidate_personas AS kept ON kept.persona_id = d.keeper_id
    ORDER BY d.similarity DESC
    LIMIT 5
"""
print(hub.sql(drops))

# %% [markdown]
# ## Try a prompt, then run it
#
# The answers of a preview are kept: the run does not ask for them again.

# %%
tried = hub.preview("tools", 2)
print(tried.select("input", "answer", "is_sent"))

# %%
few = hub.choose(5)
print(f"5 personas for {few.total}: mean similarity {few.mean:.2f}, of random ones {few.mean_at_random:.2f}")
few.personas.write_csv(home / "few.csv")
result = hub.run(select=["tools", "warehouse"], personas_from=home / "few.csv")
result.raise_for_failure()

# %% [markdown]
# ## Read
#
# Tables are lazy Polars frames; SQL gives frames, too.

# %%
tools = hub.dataset("tools").join(hub.personas().select("persona_id", "persona"), on="persona_id").collect()
with pl.Config(fmt_str_lengths=80):
    print(tools.select("persona", "name", "description"))

# %%
print(hub.search("somebody who cooks", 3).select("persona", "similarity"))

# %% [markdown]
# Where a row comes from:

# %%
for entry in hub.why(tools["item_id"][0]):
    print(entry["kind"], entry["lines"][0])

# %%
hub.sql("SELECT dataset, count(*) AS items FROM dataset_items GROUP BY dataset")
