"""Options keep their letters, in every usual form, or are refused."""

import pytest

from stages.data.options import letter_options
from stages.data.sample import Unusable

FORMS = [
    *("{}、{}", "{}。{}", "{}．{}", "{}：{}", "{}，{}", "（{}）{}", "【{}】{}", "「{}」{}", "［{}］ {}"),
    *("{}. {}", "{}.{}", "{}) {}", "({}) {}", "{}: {}", "[{}] {}", "{{{}}} {}", "{} . {}", "{}] {}"),
    *("{}-{}", "{} - {}", "{} – {}", "{}—{}", "{}, {}", "{}/{}", "{} {}"),
    *("**{}.** {}", "**{}**. {}", "Option {}: {}", "option ({}) {}", "选项{}：{}"),
]
LABELS = [
    *(("A", "B"), ("a", "b"), ("Ａ", "Ｂ"), ("ａ", "ｂ"), ("1", "2"), ("１", "２"), ("А", "Б"), ("а", "б"), ("Α", "Β")),
    *(("I", "II"), ("i", "ii"), ("甲", "乙"), ("一", "二"), ("ア", "イ"), ("あ", "い"), ("가", "나"), ("א", "ב")),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_letter_out_of_order_stays_with_its_text_in_every_form(form: str) -> None:
    options = [form.format("B", "right"), form.format("A", "left")]
    lettered, answer = letter_options(options, "A")
    assert answer == "A"
    assert [(line[line.index(letter)], "left" in line) for line, letter in zip(lettered, "BA", strict=True)] == [
        ("B", False),
        ("A", True),
    ]
    assert letter_options(options, "left") == (lettered, "A")
    assert letter_options(options, options[1]) == (lettered, "A")


@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_labels_of_every_alphabet_become_letters_and_stay_with_their_text(labels: tuple[str, str]) -> None:
    first, second = labels
    for form in ("{}. {}", "{}、{}", "（{}）{}", "{}) {}"):
        options = [form.format(second, "right"), form.format(first, "left")]
        lettered, answer = letter_options(options, first)
        assert answer == "A"
        assert lettered in ((options[0], options[1]), ("B. right", "A. left"))
        assert letter_options(options, "right")[1] == "B"


def test_enclosed_numbers_and_labels_up_to_ten_are_read() -> None:
    assert letter_options(["②right", "①left"], "①") == (("B. right", "A. left"), "A")
    assert letter_options(["⒉ right", "⒈ left"], "2") == (("B. right", "A. left"), "B")
    assert letter_options(["Ⓑ right", "Ⓐ left"], "Ⓑ") == (("B. right", "A. left"), "B")
    ten = [f"{number}) text {number}x" for number in range(10, 0, -1)]
    assert letter_options(ten, "10") == (tuple(f"{'JIHGFEDCBA'[n]}. text {10 - n}x" for n in range(10)), "J")
    assert letter_options(["J、last", "B、second"], "J") == (("J. last", "B. second"), "J")


@pytest.mark.parametrize(
    ("options", "answer", "lettered", "letter"),
    [
        # a subset of the letters, with a mark
        (["B、right", "C、up"], "B", ["B. right", "C. up"], "B"),
        (["C. up", "D. down"], "D", ["C. up", "D. down"], "D"),
        # lines in a usual form stay as they are
        (["B. right", "A. left"], "A", ["B. right", "A. left"], "A"),
        (["A) left", "B) right"], "(b)", ["A) left", "B) right"], "B"),
        (["A", "B"], "B", ["A", "B"], "B"),
        (["A. left", "B. left"], "B", ["A. left", "B. left"], "B"),
        (["(B) left", "(A) left"], "A", ["(B) left", "(A) left"], "A"),
        # the answer is a text, also beside letters
        (["A. left", "B. right"], "right", ["A. left", "B. right"], "B"),
        (["A. left", "B. right"], "B. right", ["A. left", "B. right"], "B"),
        (["A. Yes", "B. No"], "The answer is B", ["A. Yes", "B. No"], "B"),
        (["left", "right"], "Right.", ["A. left", "B. right"], "B"),
        (["left", "right"], "b", ["A. left", "B. right"], "B"),
        (["Élan", "other"], "E\u0301lan", ["A. Élan", "B. other"], "A"),
        (["1) left", "2) right"], "B", ["A. left", "B. right"], "B"),
        # text that looks like a label
        (["A cat", "A dog"], "A", ["A. A cat", "B. A dog"], "A"),
        (["1", "2", "3"], "2", ["A. 1", "B. 2", "C. 3"], "B"),
        (["2", "3", "4"], "3", ["A. 2", "B. 3", "C. 4"], "B"),
        (["1.5", "2.5"], "2.5", ["A. 1.5", "B. 2.5"], "B"),
        (["10:30", "11:45"], "A", ["A. 10:30", "B. 11:45"], "A"),
        (["1-2", "2-3"], "2-3", ["A. 1-2", "B. 2-3"], "B"),
        (["U.S. Army", "U.K. Navy"], "B", ["A. U.S. Army", "B. U.K. Navy"], "B"),
        (["J. K. Rowling", "C. S. Lewis"], "J. K. Rowling", ["J. K. Rowling", "C. S. Lewis"], "J"),
        (["X-ray", "MRI", "CT"], "B", ["A. X-ray", "B. MRI", "C. CT"], "B"),
        (["B-52", "B-29"], "B-29", ["A. B-52", "B. B-29"], "B"),
        (["I-frame", "B-frame", "P-frame"], "P-frame", ["A. I-frame", "B. B-frame", "C. P-frame"], "C"),
        (["3. Oktober", "5. Mai"], "5. Mai", ["A. 3. Oktober", "B. 5. Mai"], "B"),
        (["1. Mai", "2. Mai"], "B", ["A. 1. Mai", "B. 2. Mai"], "B"),
        (["C:\\one", "D:\\two"], "B", ["A. C:\\one", "B. D:\\two"], "B"),
        (["Python", "C", "Java"], "Java", ["A. Python", "B. C", "C. Java"], "C"),
        (["A left turn", "A right turn", "B"], "A", ["A. A left turn", "B. A right turn", "C. B"], "A"),
        # orders of the same things: the first thing is no label
        (["2->1->3->4", "1->2->3->4"], "1->2->3->4", ["A. 2->1->3->4", "B. 1->2->3->4"], "B"),
        (["B->A->C", "A->B->C"], "A", ["A. B->A->C", "B. A->B->C"], "A"),
        (["B-A", "A-B"], "A-B", ["A. B-A", "B. A-B"], "B"),
        (["B, C, A", "A, B, C"], "A", ["A. B, C, A", "B. A, B, C"], "A"),
        (["B → A", "A → B"], "B", ["A. B → A", "B. A → B"], "B"),
        (["B then A", "A then B"], "A then B", ["A. B then A", "B. A then B"], "B"),
        (["(2)(1)(3)", "(1)(3)(2)"], "(1)(3)(2)", ["A. (2)(1)(3)", "B. (1)(3)(2)"], "B"),
        (["(c)(a)(b)", "(a)(b)(c)"], "A", ["A. (c)(a)(b)", "B. (a)(b)(c)"], "A"),
        (["②①③", "①③②"], "①③②", ["A. ②①③", "B. ①③②"], "B"),
        (["1. 23", "2. 13", "3. 12"], "2", ["A. 23", "B. 13", "C. 12"], "B"),
    ],
)
def test_labels_answers_and_texts_are_told_apart(
    options: list[str], answer: str, lettered: list[str], letter: str
) -> None:
    assert letter_options(options, answer) == (tuple(lettered), letter)


@pytest.mark.parametrize(
    ("options", "answer", "reason"),
    [
        (["B-right", "C-up"], "B", "ambiguous options"),  # label B, or the second one
        (["A. left", "right"], "right", "ambiguous options"),
        (["A. left", "B. right", "B. up"], "A", "ambiguous options"),
        (["A. left", "B. right"], "A. right", "ambiguous options"),
        (["left", "left"], "left", "ambiguous options"),
        (["A. left", "B. left"], "left", "ambiguous options"),
        (["C", "Python", "Java"], "C", "ambiguous options"),  # the language, or the third one
        (["X-ray", "MRI", "B-mode"], "B", "ambiguous options"),
        (["1) 2", "2) 1"], "1", "ambiguous options"),
        (["ข. right", "ก. left"], "B", "ambiguous options"),  # an alphabet that is not known here
        (["2. right", "1. left"], "A", "answer not among the options"),
        (["0) left", "1) right"], "1", "answer not among the options"),
        (["left", "right"], "2", "answer not among the options"),
        (["A. left", "B. right"], "C", "answer not among the options"),
        (["A. left", "B. right"], "A, B", "answer not among the options"),
        (["A. left", "B. right"], "A. B.", "answer not among the options"),
        (["A. left", "B. right"], "A and B", "answer not among the options"),
        (["left", "right"], "A, B", "answer not among the options"),
        ([], "A", "answer not among the options"),
    ],
)
def test_what_has_two_readings_or_none_is_refused(options: list[str], answer: str, reason: str) -> None:
    with pytest.raises(Unusable) as error:
        letter_options(options, answer)
    assert error.value.reason == reason
    assert answer in error.value.detail or "letter of its own" in error.value.detail
