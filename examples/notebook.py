# %% [markdown]
# # A search from Python
# Each `# %%` begins a cell: VS Code and Jupyter (with jupytext) open this file as a notebook, and
# `python examples/notebook.py` runs all of it. A search is kept where the command line keeps it: in the folder `.rlnas`
# here. To begin anew: `rlnas delete notebook` and `rlnas delete elsewhere`.

# %% A search is made of a spec: a YAML file, or what one holds.
import rlnas

spec = {
    "name": "notebook",
    "space": {"kind": "cnn", "layers": 2, "filters": [4, 8]},
    "dataset": {"kind": "digits"},
    "child": {"epochs": 2, "batch": 32, "snapshots": 1, "upsample_by": None},
    "controller": {"kind": "guided", "first": 4},
    "loop": {"children": 8, "children_per_round": 4},
    "finalize": None,
}
search = rlnas.search(spec)  # makes it, or opens the one that is there

# %% Run a round here, as `rlnas run` does, and look at it: the children as a pandas frame, and the best of them.
status = search.run(rounds=1)
print(f"{status.children} of {status.budget} children")
print(search.children()[["child", "reward", "metric_parameters"]])
best = search.best()
print(best.name, best.result.reward, search.architecture(best))

# %% Or train elsewhere: ask for architectures, and tell what they are worth. All else is the same.
other = rlnas.search(spec | {"name": "elsewhere"})


def my_training(architecture):
    """Stands for your own training: here an architecture is worth what share of its layers reads an earlier one."""
    return sum(bool(layer.inputs) for layer in architecture.layers) / len(architecture.layers)


for child in other.ask(4):
    other.tell(child, reward=my_training(child.architecture), metrics={"layers": len(child.architecture.layers)})
print(other.status().children, "children, best reward", other.best().result.reward)

# %% Suggest an architecture of your own, or of another search: the next round takes it up first.
other.suggest([search.architecture(best)], by="the notebook")
while asked := other.ask(4):  # until the budget is reached
    for child in asked:
        other.tell(child, reward=my_training(child.architecture))
print(other.children()[["child", "reward", "by", "suggested"]])

# %% Any search is opened by its name, also one that the command line began.
print(rlnas.open("elsewhere").best())
