"""A second reader of the model file, written from docs/artifact-format.md alone: it shares no code with the service.

It needs onnxruntime and the standard library, and numpy only because onnxruntime takes its arrays.

Run: python tests/reader.py MODEL [RECORDS.json]
Without records it scores the golden records of the file and fails where they are not reproduced.
"""

import datetime as dt
import hashlib
import json
import math
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime as ort

FORMAT_VERSION = "2"
DIGEST_BYTES = 83


class Model:
    """A model file: its documents and its graph."""

    def __init__(self, path):
        """Check the digest, read the metadata and load the graph."""
        data = Path(path).read_bytes()
        self.digest = checked_digest(data)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(data, sess_options=options, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        if metadata.get("vaegis.format") != FORMAT_VERSION:
            raise ValueError(f"expected format version {FORMAT_VERSION}, got {metadata.get('vaegis.format')}")
        documents = ("schema", "calibration", "provenance", "generator", "golden")
        self.documents = {name: json.loads(metadata[f"vaegis.{name}"]) for name in documents}
        self.columns = self.documents["schema"]["columns"]

    def score(self, records):
        """Return the outputs of the graph for a list of records, by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, self.inputs(records)), strict=True))

    def inputs(self, records):
        """Turn records, parsed JSON objects, into the inputs of the graph."""
        rows = [flattened(record) for record in records]
        text = [column for column in self.columns if column["kind"] in ("categorical", "text")]
        others = [column for column in self.columns if column["kind"] not in ("categorical", "text")]
        numbers = [[number(column, row.get(column["name"])) for column in others] for row in rows]
        inputs = {"numbers": np.array(numbers, dtype=np.float64).reshape(len(rows), len(others))}
        if text:
            values = [[row.get(column["name"]) for column in text] for row in rows]
            strings = [[string(column, value) for column, value in zip(text, row, strict=True)] for row in values]
            nulls = [(None,) if "" in column["categories"] else (None, "") for column in text]
            observed = [[value not in null for value, null in zip(row, nulls, strict=True)] for row in values]
            inputs["strings"] = np.array(strings, dtype=object).reshape(len(rows), len(text))
            inputs["strings_observed"] = np.array(observed, dtype=bool).reshape(len(rows), len(text))
        return inputs

    def verdicts(self, records, alpha=None):
        """Return score, p-value and flag of each record."""
        calibration = self.documents["calibration"]
        alpha = calibration["alpha"] if alpha is None else alpha
        n = sum(len(fold) for fold in calibration["folds"])
        if alpha < 1 / (n + 1):
            raise ValueError(f"expected an alpha of at least 1 / ({n} + 1), got {alpha}")
        outputs = self.score(records)
        verdicts = []
        for score, fold_scores in zip(outputs["score"].tolist(), outputs["fold_scores"].tolist(), strict=True):
            p = p_value(calibration["folds"], fold_scores)
            verdicts.append({"score": score, "p_value": p, "is_anomaly": p <= alpha})
        return verdicts

    def largest_golden_difference(self):
        """Score the golden records, and return the largest difference of a score, or raise."""
        golden = self.documents["golden"]
        outputs = self.score(golden["records"])
        largest = 0.0
        for row, expected in enumerate(golden["scores"]):
            for name, value in expected.items():
                difference = abs(float(outputs[name][row]) - value)
                allowed = golden["absolute_tolerance"] + golden["relative_tolerance"] * abs(value)
                if not difference <= allowed:
                    raise ValueError(f"golden record {row}: expected the {name} {value}, got {outputs[name][row]}")
                largest = max(largest, difference if name == "score" else 0.0)
        return largest


def p_value(folds, fold_scores):
    """Return the p-value of a record from the calibration scores of each fold and its own scores by each member."""
    at_least, n = 0, 0
    for fold, score in zip(folds, fold_scores, strict=True):
        at_least += sum(other >= score for other in fold)
        n += len(fold)
    return (1 + at_least) / (n + 1)


def checked_digest(data):
    """Return the SHA-256 of all bytes before the digest entry, which must hold it."""
    body, entry = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    digest = hashlib.sha256(body).hexdigest()
    if entry != b"\x72\x51\x0a\x0dvaegis.digest\x12\x40" + digest.encode():
        raise ValueError("expected the digest of the content at the end of the file, got other bytes")
    return digest


def flattened(record, prefix=""):
    """Return a record with objects within it joined to their keys by dots."""
    flat = {}
    for key, value in record.items():
        flat.update(flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def number(column, value):
    """Return the `numbers` input of a value that is not a category."""
    if value is None:
        return math.nan
    if column["kind"] != "timestamp":
        return float(value)
    if not isinstance(value, str) and column.get("number_form") == "yyyymmdd":
        value = f"{value // 10_000:04}-{value // 100 % 100:02}-{value % 100:02}"
    if isinstance(value, str):
        moment = dt.datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    if 19_000_101_000_000 <= value < 21_000_101_000_000:  # as in 20240318101200
        return dt.datetime.strptime(str(int(value)), "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC).timestamp()
    for limit, unit in ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6)):
        if abs(value) < limit:
            return value / unit
    return value / 1e9


def string(column, value):
    """Return the `strings` input of a value of a categorical or text column."""
    return category(value) if value is None or column["kind"] == "categorical" else form(column, category(value))


def form(column, text):
    """Return the form of a text: a pattern, `other` or `unusual`."""
    seen = text[:1024]
    classes = "".join(character_class(character) for character in seen)
    shortest, longest = column["usual_lengths"]
    counts = column["usual_counts"]
    usual = len(text) >= shortest and (longest is None or len(text) <= longest)
    usual = usual and all(least <= classes.count(symbol) <= most for symbol, (least, most) in counts.items())
    usual = usual and set(classes) <= set(counts)
    if column["usual_surprise"] is not None:
        spelled = "\n" + "".join(spelling(character) for character in seen) + "\n"
        pairs = [spelled[at : at + 2] for at in range(len(spelled) - 1)]
        total = sum(column["pairs"].get(pair, column["rare_pair"]) for pair in pairs)
        usual = usual and total <= column["usual_surprise"] * len(pairs)
    if not usual:
        return "unusual"
    found = pattern(classes, column["classes"], column["longest_run"])
    return found if found in column["categories"] else "other"


def pattern(classes, which, longest_run):
    """Return the pattern of a text, given the class of each of its characters."""
    if which == "any":
        return "*"
    if which == "set":
        return "".join(sorted(set(classes)))
    merged = {"case": "Aa9", "letters": "aa9", "alphanumeric": "xxx"}[which]
    classes = classes.translate(str.maketrans("Aa9", merged))
    cut = ""
    for symbol in classes:
        if symbol not in merged or not cut.endswith(symbol * longest_run):
            cut += symbol
    return cut[:128]


def character_class(character):
    """Return the class of a character: A, a, 9, a space, itself if it is another of ASCII, or U+FFFD."""
    category = unicodedata.category(character)
    if character.isspace():
        return " "
    if category in ("Lu", "Lt"):
        return "A"
    if category[0] in "LM":
        return "a"
    if category[0] == "N":
        return "9"
    return character if character.isascii() and category != "Cc" else "\ufffd"


def spelling(character):
    """Return a character as pairs have it."""
    found = character_class(character)
    if found in "Aa":
        return character.lower() if character.isascii() else "\x7f"
    return "\x7f" if found == "\ufffd" else found


def category(value):
    """Return the `strings` input of a category."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def main():
    """Print the verdicts on records from a file, or how well the golden records are reproduced."""
    model = Model(sys.argv[1])
    if len(sys.argv) > 2:
        records = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
        print(json.dumps(model.verdicts(records)))
    else:
        difference = model.largest_golden_difference()
        count = len(model.documents["golden"]["records"])
        print(f"onnxruntime {ort.__version__}: {count} golden records reproduced, within {difference:.2g}")


if __name__ == "__main__":
    main()
