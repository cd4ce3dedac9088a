"""MVBench: 20 temporal tasks of 200 multiple-choice questions each."""

from collections.abc import Iterator
from pathlib import Path

from stages.data.sample import ProblemType, Reject, Sample
from stages.evaluation.benchmark_records import Fields, choice, read_benchmark
from stages.evaluation.definition import About, Benchmark, Profile

# The folder of each task's clips. The same base name occurs in several folders, so the task decides.
FOLDERS = {
    "action_antonym": "ssv2_video",
    "action_count": "perception/videos",
    "action_localization": "sta/sta_video",
    "action_prediction": "star/Charades_v1_480",
    "action_sequence": "star/Charades_v1_480",
    "character_order": "perception/videos",
    "counterfactual_inference": "clevrer/video_validation",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "fine_grained_pose": "nturgbd",
    "moving_attribute": "clevrer/video_validation",
    "moving_count": "clevrer/video_validation",
    "moving_direction": "clevrer/video_validation",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "scene_transition": "scene_qa/video",
    "state_change": "perception/videos",
    "unexpected_action": "FunQA_test/test",
}


def read(root: Path) -> Iterator[Sample | Reject]:
    """Video-R1's `eval_mvbench.json`, or the official `json/<task>.json`, with the clips in `video/`.

    Clips that were added later lie in `video/data0613/`. The category is the task. Video-R1's file asks about whole
    clips; the official records have bounds, to which a clip is cut.
    """
    yield from read_benchmark(root, "mvbench", _video_r1, _official, "json/*.json")


def group(category: str, problem_type: ProblemType, profile: Profile) -> tuple[str, ...]:
    """The mean of the tasks' accuracies; for Video-R1 the plain mean.

    The two are equal where every task is complete.
    """
    return (category,) if profile == "official" else ()


def _video_r1(fields: Fields) -> Fields:
    """Add the task, which the file does not name.

    The file holds 200 questions of each task, in alphabetical order and numbered from 1. Where the clip's folder is not
    the task's own, the category is the folder.
    """
    clip = fields["path"].removeprefix("./").removeprefix("Evaluation/MVBench/").removeprefix("video/")
    there = [task for task, folder in FOLDERS.items() if clip.startswith(f"{folder}/")]
    number = fields["problem_id"]
    numbered = list(FOLDERS)[(number - 1) // 200 :][:1] if isinstance(number, int) and number > 0 else []
    named = [fields.get("original_question_type")]
    tasks = [task for task in [*named, *numbered] if task in there] or (there if len(there) == 1 else [])
    return {**fields, "data_type": "video", "original_question_type": tasks[0] if tasks else clip.split("/")[0]}


def _official(fields: Fields, file: Path) -> Fields:
    return choice(
        fields["question"],
        fields["candidates"],
        fields["answer"],
        f"{FOLDERS[file.stem]}/{fields['video']}",
        file.stem,
        clip_start=fields.get("start"),
        clip_end=fields.get("end"),
    )


ABOUT = About(
    questions=4000,
    metric="mean of 20 task accuracies",
    hub=("OpenGVLab/MVBench",),
    checked="reader: every eighth record of Video-R1's file, and records made to the official layout",
)
BENCHMARK = Benchmark(about=ABOUT, read=read, group=group, categories=frozenset(FOLDERS))
