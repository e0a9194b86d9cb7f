"""The entropy coder's tables, contexts and bits, against slow and obvious versions of the same."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pwfn.artifact.container import ArtifactError
from pwfn.artifact.header import Codebook, view_shape
from pwfn.artifact.sections.coding import NEVER, Decoder, Encoder, Table, costs, frequencies, levels_of
from pwfn.artifact.sections.contexts import Classes, choose
from pwfn.artifact.sections.tables import pool
from tests.support.artifact import artifact_reader

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


# levels and frequencies ----------------------------------------------------------------------------------------------


def test_every_level_is_the_nearest_to_its_own_weight() -> None:
    weights = [(8 + (level - 1) % 8) * 2 ** ((level - 1) // 8) for level in range(1, 224)]
    assert weights == sorted(set(weights))
    assert levels_of(np.array(weights) // 8)[56:].tolist() == list(range(57, 224))  # from there on they are integers
    assert levels_of(np.array([0, 1, 2, 3])).tolist() == [0, 1, 9, 13]


@pytest.mark.slow
@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20))
def test_levels_are_within_a_sixteenth(counts: list[int]) -> None:
    for count, level in zip(counts, levels_of(np.array(counts)).tolist(), strict=True):
        assert (level > 0) == (count > 0)
        if count:
            weight = (8 + (level - 1) % 8) * 2 ** ((level - 1) // 8) / 8
            assert abs(weight - count) <= count / 16


@given(st.lists(st.integers(0, 255), min_size=1, max_size=300))
def test_frequencies_follow_the_document(levels: list[int]) -> None:
    array = np.array(levels, dtype=np.uint8)
    found = frequencies(array).tolist()
    if not any(levels):
        assert found == [0] * len(levels)
        return
    assert sum(found) == 2**24
    assert [f > 0 for f in found] == [level > 0 for level in levels]
    assert found == artifact_reader.frequencies(bytes(levels))
    bits = costs(array)
    for f, b in zip(found, bits.tolist(), strict=True):
        assert b == (pytest.approx(24 - math.log2(f), abs=1e-12) if f else NEVER)


def test_coarse_frequencies_cost_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount(np.abs(rng.normal(0, 9, 300_000)).astype(int))
    p = counts / counts.sum()
    entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
    assert entropy <= p @ costs(levels_of(counts)) < 1.0005 * entropy


# the coder -----------------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=30)
def test_what_goes_in_comes_out_here_and_in_a_reader_of_integers(data: st.DataObject) -> None:
    """Among them tables of one symbol, rare symbols, and symbols that take all of 2^24."""
    messages = []
    for _ in range(data.draw(st.integers(1, 4))):
        levels = np.array(data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=12)), dtype=np.uint8)
        if not levels.any():
            levels[0] = 1
        known = np.flatnonzero(levels).tolist()
        symbols = data.draw(st.lists(st.sampled_from(known), max_size=60))
        messages.append((levels, np.array(symbols, dtype=np.int32)))
    encoder = Encoder()
    for levels, symbols in reversed(messages):
        encoder.push(symbols, Table(levels))
    words = encoder.words()
    decoder = Decoder(memoryview(words))
    other = artifact_reader.Ans(words)
    for levels, symbols in messages:
        assert decoder.pop(len(symbols), Table(levels)).tolist() == symbols.tolist()
        starts = [0, *np.cumsum(frequencies(levels)).tolist()]
        if np.count_nonzero(levels) > 1:
            assert [other.pop(starts) for _ in symbols] == symbols.tolist()
    decoder.finish()
    assert other.state == 0
    assert not other.words


def test_words_that_an_encoder_never_changes() -> None:
    """Fixed bytes: a future coder that counts in another way must not pass unseen."""
    encoder = Encoder()
    encoder.push(
        np.array([0, 1, 2, 3, 3, 2, 0, 0, 1] * 3, dtype=np.int32), Table(np.array([9, 1, 17, 20], dtype=np.uint8))
    )
    words = encoder.words()
    assert words.hex() == WORDS
    other = artifact_reader.Ans(words)
    starts = [0, *np.cumsum(artifact_reader.frequencies(bytes([9, 1, 17, 20]))).tolist()]
    assert [other.pop(starts) for _ in range(27)] == [0, 1, 2, 3, 3, 2, 0, 0, 1] * 3


WORDS = "217f36e94bb11ffac5360100"


def test_more_symbols_than_the_words_can_hold_are_refused_before_they_are_decoded() -> None:
    table = Table(np.array([9, 9], dtype=np.uint8))  # one bit for each symbol
    with pytest.raises(ArtifactError, match="1000000000000 symbols"):
        Decoder(memoryview(bytes([1, 0, 0, 0]))).pop(10**12, table)


# contexts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        ((), (1, 1, 1)),
        ((7,), (7, 1, 1)),
        ((4, 5), (4, 5, 1)),
        ((4, 5, 3, 3), (4, 5, 9)),
        ((4, 1, 3, 2), (4, 3, 2)),
        ((1, 9, 4), (9, 4, 1)),
        ((1, 1), (1, 1, 1)),
        ((0, 3), (0, 3, 1)),
        ((2, 3, 4, 5, 6), (2, 3, 120)),
    ],
)
def test_how_a_shape_is_seen(shape: tuple[int, ...], view: tuple[int, int, int]) -> None:
    assert view_shape(shape) == view


@given(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), st.integers(0, 2**32 - 1))
def test_sorting_by_class_and_back(shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = tuple(int(rng.integers(1, 4)) for _ in shape)
    of = tuple(rng.integers(0, count, size).astype(np.uint8) for count, size in zip(counts, shape, strict=True))
    classes = Classes(counts, of)  # type: ignore[arg-type]
    symbols = rng.integers(0, 100, shape).astype(np.int32)
    by_class = classes.sort(symbols)
    assert (classes.unsort(by_class) == symbols).all()
    blocks = list(classes.blocks())
    assert len(blocks) == classes.contexts == math.prod(counts)
    for block, wanted in zip(blocks, product(*map(range, counts)), strict=True):
        mask = np.ones(shape, dtype=bool)
        for axis, one in enumerate(wanted):
            mask &= (of[axis] == one).reshape([-1 if other == axis else 1 for other in range(3)])
        assert by_class[block].ravel().tolist() == symbols[mask].tolist()


def naive_bits(symbols: np.ndarray, classes: Classes) -> float:
    bits = 0.0
    by_class = classes.sort(symbols)
    for block in classes.blocks():
        counts = np.unique(by_class[block], return_counts=True)[1]
        bits += float((counts * np.log2(counts.sum() / counts)).sum())
    return bits


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_hidden_classes_are_found(axis: int) -> None:
    """Along one axis every third index is loud, the others are quiet."""
    rng = np.random.default_rng(axis)
    shape = [40, 40, 40]
    loud = (np.arange(40) % 3 == 0).reshape([-1 if other == axis else 1 for other in range(3)])
    values = np.rint(rng.normal(0, 1, shape) * np.where(loud, 12, 1))
    symbols = np.clip(values + 30, 0, 60).astype(np.int32)
    classes, counts = choose(symbols, np.abs(np.arange(61) - 30.0))
    assert [count for other, count in enumerate(classes.counts) if other != axis] == [1, 1]
    assert classes.of[axis][loud.ravel()].min() > classes.of[axis][~loud.ravel()].max()  # from quiet to loud
    assert naive_bits(symbols, classes) < 0.85 * naive_bits(symbols, Classes.single((40, 40, 40)))
    by_class = classes.sort(symbols)
    for block, row in zip(classes.blocks(), counts, strict=True):
        assert np.bincount(by_class[block].ravel(), minlength=61).tolist() == row.tolist()


def test_no_classes_where_there_are_none() -> None:
    symbols = np.random.default_rng(0).integers(0, 60, (64, 64, 9)).astype(np.int32)
    assert choose(symbols, np.arange(60.0))[0].counts == (1, 1, 1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (0, 3, 1), (5000, 1, 1), (1, 1, 5000), (2, 2, 2000)])
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    symbols = np.random.default_rng(0).integers(0, 4, shape).astype(np.int32)
    classes, counts = choose(symbols, np.arange(4.0))
    assert counts.sum() == symbols.size
    assert len(counts) == classes.contexts
    assert (classes.unsort(classes.sort(symbols)) == symbols).all()


# tables --------------------------------------------------------------------------------------------------------------


def test_contexts_alike_share_a_table_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    quiet, loud = np.exp(-np.arange(50) / 2), np.exp(-np.arange(50) / 20)
    draw = [rng.multinomial(40_000, p / p.sum()) for p in (quiet, loud, quiet, loud)]
    small = rng.multinomial(100, quiet / quiet.sum())
    levels, ids = pool([np.stack(draw), small[None]])
    assert [len(one) for one in ids] == [4, 1]
    first = ids[0].tolist()
    assert first[0] == first[2] != first[1] == first[3]
    assert ids[1][0] == first[0]
    assert len(levels) == 2
    bits = [int(row @ costs(levels[i])[: len(row)]) for row, i in zip(draw, first, strict=True)]
    assert max(bits) < NEVER  # every context's symbols are known to its table


def test_a_context_never_takes_a_table_that_lacks_one_of_its_symbols() -> None:
    counts = [np.array([[100_000, 10, 0]]), np.array([[1000, 0, 1]]), np.array([[0, 0, 1]]), np.array([[0, 0, 0]])]
    levels, ids = pool(counts)
    for one, table in zip(counts, ids, strict=True):
        assert ((levels[table] > 0) | (one == 0)).all()


# the codebook --------------------------------------------------------------------------------------------------------


@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_a_codebook_keeps_every_bit(numbers: list[float]) -> None:
    values = np.sort(np.array(numbers, dtype=np.float32))
    book = Codebook.of(values)
    assert book.values().tobytes() == values.tobytes()
    assert (book.bits is None) == (book.numerators is not None)


def test_sums_of_powers_of_two_are_stored_as_integers() -> None:
    book = Codebook.of(np.array([-0.75, -0.0078125, 0, 0.5, 3], dtype=np.float32))
    assert book.exponent == -7
    assert book.numerators == (-96, -1, 0, 64, 384)
    assert artifact_reader.codebook(book.model_dump()) == [-0.75, -0.0078125, 0, 0.5, 3]
