"""A learned rule as a scikit-learn transformer: fit, transform, partial_fit, in pipelines and searches like any other.

What it learns with is `inner_loop`; what it keeps is a frozen base model, whose features of a row do not depend on
the rows beside it. scikit-learn is loaded with this module, and this module when `metarules.MetaRuleTransformer` is.
"""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from tqdm import tqdm

from metarules._arguments import guarded, plain_torch
from metarules._checks import check_number, check_widths, shown
from metarules._files import check_source, write_atomically
from metarules._random import seeded
from metarules._threads import few_threads, inner_work
from metarules.base_model import BaseModelState, FrozenBaseModel, freeze
from metarules.inner_loop import Start, batches, start, unroll
from metarules.pretrained import get_rule
from metarules.tasks import Task
from metarules.update_rule import Batch, UpdateRule

DTYPES = [np.float64, np.float32]  # of features: as the input's, anything else becomes the first
SAMPLE = 5000  # rows that batch statistics are taken over: a mean over them is off by 1.4% of a standard deviation
BLOCK = 8192  # rows read or transformed at once
_KEY = "metarules.MetaRuleTransformer"  # under which a file's header keeps what is no tensor
_FORMAT = 1


class MetaRuleTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features that an update rule teaches a small network, without labels.

    The network normalises every unit over the batch, so nothing is scaled here. Columns of different units want a
    `StandardScaler` before it; pixels do not (on random handwriting and letters it costs 0.02 to 0.06 of few-shot
    accuracy). After `fit` batch statistics are frozen: a row's features are the same in every subset. A linear read-out
    wants them standardised, by a `StandardScaler` after it.

    Args:
        rule: a name out of `metarules.pretrained.rule_names()` ("local" is the shipped rule), the path of a
            .safetensors file, or an `UpdateRule`. It must learn without labels.
        hidden_layer_sizes: units of the layers between the input and the top.
        n_components: units of the top layer, the features.
        n_steps: inner steps of `fit`; None takes what the rule recommends. `partial_fit` takes one for each batch.
        batch_size: rows a step sees, from 2; None takes what the rule recommends, or all rows where they are fewer.
        nonlinearity: of the network, see `metarules.base_model.NONLINEARITIES`.
        random_state: of initial weights and batches: a whole number, a `RandomState`, or None for NumPy's own.
        verbose: show a progress bar with the time that is left.

    Attributes:
        coefs_: weights of each layer, the statistics folded in, [n_in, n_out].
        intercepts_: biases of each layer [n_out].
        state_: phi, the base model as the rule left it; `partial_fit` goes on from there.
        n_features_in_: number of inputs; `feature_names_in_`: their names, where the input had some.
        n_samples_seen_: rows that it has been given.
        n_steps_: inner steps that it has taken.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from metarules import MetaRuleTransformer
        >>> X, y = load_digits(return_X_y=True)
        >>> model = make_pipeline(MetaRuleTransformer(n_steps=25), StandardScaler(), LogisticRegression())
        >>> model.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.9
        True
        >>> model[0].transform(X[:1] / 16).shape
        (1, 32)
    """

    def __init__(
        self,
        rule: Any = "local",  # scikit-learn wants no error before `fit`, whatever these are
        hidden_layer_sizes: Any = (128, 128),
        n_components: Any = 32,
        n_steps: Any = None,
        batch_size: Any = None,
        random_state: Any = None,
        nonlinearity: Any = "relu",
        verbose: Any = False,
    ) -> None:
        self.rule = rule
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_components = n_components
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.random_state = random_state
        self.nonlinearity = nonlinearity
        self.verbose = verbose

    # ---- learning

    @plain_torch()
    def fit(self, X: Any, y: Any = None) -> MetaRuleTransformer:
        """Teach a fresh network on all rows, in batches drawn at random.

        Args:
            X: [n_samples, n_features], at least two rows. A `numpy.memmap` is read row by row, never kept whole.
            y: ignored.

        Returns:
            The transformer.

        Raises:
            TypeError, ValueError: an argument out of range, a rule that needs labels, NaN or infinity in X.
            DivergenceError: the rule did not stay finite.
        """
        X = validate_data(self, X, dtype=DTYPES, ensure_min_samples=2)
        phi, how, generator = self._begin(X)
        self._learn(phi, batches(_task(X), how.steps, how.batch_size, generator), how.steps)
        rows = torch.randperm(len(X), generator=generator)[:SAMPLE].sort().values.numpy()
        return self._freeze(np.array(X[rows]), len(X))

    @plain_torch()
    def partial_fit(self, X: Any, y: Any = None) -> MetaRuleTransformer:
        """Go on learning from rows as they come, one inner step for each batch of them; every row is seen once.

        Kept in memory are a block of rows, the network, and `SAMPLE` rows drawn evenly from all that ever came. Rows
        should come in random order.

        Args:
            X: [n_samples, n_features]; a `numpy.memmap`, read in blocks; or an iterator of such arrays, of any sizes.
            y: ignored.

        Returns, Raises: as `fit`.
        """
        first = not hasattr(self, "coefs_")
        blocks = self._blocks(X, first)
        head = next(blocks, None)
        if head is None:
            raise ValueError("X is an iterator that holds nothing; allowed: one that yields arrays of rows")
        phi = self._begin(np.repeat(head[:1], 2, 0)).phi if first else self.state_  # of this width and dtype
        size = self._rule(phi.dtype).recommended.batch_size if self.batch_size is None else self.batch_size
        check_number("batch_size", size, low=2, integer=True)
        keep = (
            Reservoir(head[:0], 0, self._seed) if first else Reservoir(self._sample, self.n_samples_seen_, self._seed)
        )
        stream = (keep(batch) for batch in regrouped(chain([head], blocks), size))
        total = None if isinstance(X, Iterator) else max(1, len(X) // size)
        self._learn(phi, (Batch(_tensor(batch).to(phi.dtype)) for batch in stream), total)
        return self._freeze(keep.sample, keep.seen)

    def _blocks(self, X: Any, first: bool) -> Iterator[np.ndarray]:
        """X, checked block by block where it is a stream or lies in a file."""
        least = 2
        if isinstance(X, Iterator):
            parts, least = X, 1
        elif isinstance(X, np.memmap) and X.ndim == 2:
            parts = (X[i : i + BLOCK] for i in range(0, max(1, len(X)), BLOCK))
        else:
            parts = iter([X])
        for part in parts:
            yield validate_data(self, part, dtype=DTYPES, reset=first, ensure_min_samples=least)
            first, least = False, 1

    def _begin(self, X: np.ndarray) -> Start:
        """Forget what was learned, and draw a base model for such rows."""
        for name in [name for name in ("state_", "coefs_", "intercepts_", "n_steps_") if hasattr(self, name)]:
            delattr(self, name)
        _check_settings(**self.get_params(deep=False))
        given = self.random_state
        self._seed = int(given if isinstance(given, Integral) else check_random_state(given).randint(2**31 - 1))
        hidden = tuple(np.atleast_1d(self.hidden_layer_sizes).tolist())
        task = _task(X)
        sizes = (task.n_inputs, *hidden, self.n_components)
        return start(
            self._rule(task.x.dtype),
            task,
            sizes=check_widths("hidden_layer_sizes, n_components", sizes),
            steps=self.n_steps,
            batch_size=None if self.batch_size is None else min(self.batch_size, len(X)),
            nonlinearity=self.nonlinearity,
            seed=self._seed,
        )

    def _rule(self, dtype: torch.dtype) -> UpdateRule:
        rule = get_rule(self.rule) if isinstance(self.rule, str) else self.rule
        if rule.needs_labels:
            raise ValueError(f"rule is {shown(self.rule)}, which needs labels; allowed: rules that learn without")
        return copy.deepcopy(rule).to(dtype)

    @torch.no_grad()
    def _learn(self, phi: BaseModelState, stream: Iterable[Batch], total: int | None) -> None:
        """Set `state_` and `n_steps_`, once all is done."""
        steps = getattr(self, "n_steps_", 0)
        with few_threads(inner_work(phi.sizes, 200)), tqdm(total=total, unit="step", disable=not self.verbose) as bar:

            def counted() -> Iterator[Batch]:
                nonlocal steps
                for batch in stream:
                    yield batch
                    steps += 1
                    bar.update()

            self.state_ = unroll(self._rule(phi.dtype), phi, counted())
        self.n_steps_ = steps

    def _freeze(self, sample: np.ndarray, seen: int) -> MetaRuleTransformer:
        model = freeze(self.state_, _tensor(sample).to(self.state_.dtype))
        self.coefs_ = [weight.numpy() for weight in model.weights]
        self.intercepts_ = [bias.numpy() for bias in model.biases]
        self._sample, self.n_samples_seen_ = sample, seen
        return self

    # ---- using what was learned

    @plain_torch()
    def transform(self, X: Any) -> np.ndarray:
        """Features of rows, each by itself.

        Args:
            X: [n_samples, n_features], at least one row.

        Returns:
            [n_samples, n_components], float32 where X is, else float64.

        Raises:
            NotFittedError: before `fit` or `partial_fit`.
            ValueError: another number of features, NaN or infinity.
        """
        check_is_fitted(self, "coefs_")
        x = _tensor(validate_data(self, X, dtype=DTYPES, reset=False))
        weights, biases = (
            [torch.from_numpy(a).to(x.dtype) for a in arrays] for arrays in (self.coefs_, self.intercepts_)
        )
        model = FrozenBaseModel(tuple(weights), tuple(biases), self.state_.nonlinearity)
        features = x.new_empty(len(x), self._n_features_out)
        for i in range(0, len(x), BLOCK):
            features[i : i + BLOCK] = model.layers_unchecked(x[i : i + BLOCK])[-1]
        return features.numpy()

    @property
    def _n_features_out(self) -> int:
        return self.coefs_[-1].shape[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # ---- files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what was learned, all that `partial_fit` needs included, as safetensors: no pickle.

        Args:
            path: where to; ends in .safetensors.

        Returns:
            The path written.

        Raises:
            NotFittedError: before `fit` or `partial_fit`.
            TypeError: `rule` or `random_state` is an object; `save_rule` gives a rule a path.
            ValueError: another ending.
            OSError: the file cannot be written; an older one is then untouched.
        """
        check_is_fitted(self, "coefs_")
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ValueError(f"path is {path.name!r}; allowed: a name ending in .safetensors")
        params = self.get_params()
        for name, value, kinds in (("rule", self.rule, str), ("random_state", self.random_state, Integral | None)):
            if not isinstance(value, kinds):
                raise TypeError(f"{name} is {value!r}, which no file can hold; allowed here: a name, number or path")
        fitted = {name: getattr(self, name) for name in ("n_features_in_", "n_samples_seen_", "n_steps_", "_seed")}
        if hasattr(self, "feature_names_in_"):
            fitted["feature_names_in_"] = self.feature_names_in_.tolist()
        told = {"format": _FORMAT, "params": params, "fitted": fitted, "nonlinearity": self.state_.nonlinearity}
        text = json.dumps(told, default=lambda value: np.asarray(value).tolist())
        tensors = {name: tensor.contiguous() for name, tensor in self.state_.tensors()}
        tensors["sample"] = torch.from_numpy(self._sample)
        write_atomically(path, safetensors.torch.save(tensors, {_KEY: text}))
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MetaRuleTransformer:
        """Read what `save` wrote.

        Raises:
            OSError: no such file, or one that cannot be read.
            ValueError: truncated, or not a file of this kind.
        """
        path = check_source("path", path)
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                told = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if told["format"] != _FORMAT:
                raise ValueError(f"format {told['format']}")
            params = told["params"]
            if isinstance(params["hidden_layer_sizes"], list):
                params["hidden_layer_sizes"] = tuple(params["hidden_layer_sizes"])
            made, sample = cls(**params), tensors.pop("sample").numpy()
            depth = sum(name.startswith("W") and name[1:].isdigit() for name in tensors)
            W, b, V = ([tensors.pop(f"{name}{l}") for l in range(1, depth + 1)] for name in "WbV")
            state = BaseModelState.from_arrays(W, b, V, told["nonlinearity"])
            made.state_ = state.with_layers(state.layers, **tensors)
            for name, value in told["fitted"].items():
                setattr(made, name, np.array(value, dtype=object) if name == "feature_names_in_" else value)
            return made._freeze(sample, made.n_samples_seen_)
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"{path.name} cannot be read ({type(error).__name__}: {error})"
            raise ValueError(f"{said}; allowed: a file by MetaRuleTransformer.save") from error


class Reservoir:
    """Rows drawn evenly from all that have passed by (Vitter's algorithm R, 1985).

    Args:
        sample: rows drawn so far [k, n], k up to `SAMPLE`.
        seen: rows that had passed by then.
        seed: with `seen`, where the drawing starts.
    """

    def __init__(self, sample: np.ndarray, seen: int, seed: int) -> None:
        self.sample, self.seen = sample.copy(), seen
        self._generator = seeded(seed + seen)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Let rows [k, n] pass by; they come back."""
        room = SAMPLE - len(self.sample)
        if room > 0:
            self.sample = np.concatenate([self.sample, rows[:room].astype(self.sample.dtype)])
        late = rows[max(room, 0) :]
        if len(late):
            count = np.arange(self.seen + len(rows) - len(late), self.seen + len(rows)) + 1
            places = (torch.rand(len(late), generator=self._generator, dtype=torch.float64).numpy() * count).astype(int)
            self.sample[places[places < SAMPLE]] = late[places < SAMPLE]
        self.seen += len(rows)
        return rows


def regrouped(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Rows of blocks of any sizes in batches of `size`; the last one is larger where the number does not fit.

    Args:
        blocks: arrays [k, n].
        size: rows of a batch.
    """
    held: Any = ()
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else block
        whole = max(0, len(held) // size - 1)  # one is held back, lest a few rows alone come last
        for i in range(whole):
            yield held[i * size : (i + 1) * size]
        held = held[whole * size :]
    yield held


@guarded
def _check_settings(
    rule: str | UpdateRule,
    hidden_layer_sizes: int | Sequence[int] | np.ndarray,
    n_components: int,
    n_steps: int | None,
    batch_size: int | None,
    random_state: Any,
    nonlinearity: str,
    verbose: Any,
) -> None:
    if n_steps is not None:
        check_number("n_steps", n_steps, low=0, integer=True)
    if not isinstance(random_state, np.random.RandomState | NoneType):
        check_number("random_state", random_state, low=0, high=2**63 - 1, integer=True)


def _tensor(x: np.ndarray) -> Tensor:
    """The same memory; it is only read, so arrays that must not be written to are welcome."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(x))


def _task(X: np.ndarray) -> Task:
    return Task(_tensor(X), torch.zeros(len(X), dtype=torch.int64), 1)
