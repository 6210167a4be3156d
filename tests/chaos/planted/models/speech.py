"""Faults to plant where a transcript would become another one, or a stranger's file cost much."""

from chaos.planted.fault import Mutant

MODEL = "tests/pure/speech/test_speech_model.py::"
SOUNDS = "tests/pure/speech/test_sounds.py::"
RULES = "tests/pure/speech/test_rules.py::"
FORMS = "tests/pure/speech/test_forms.py::"
REFUSED = "tests/pure/exporting/test_whisper_refusals.py::"

SPEECH = [
    Mutant(
        "speech: what a slot heard stays behind when it moves",
        "workers/language/cache/host.py",
        "            array[target] = array[source]\n",
        "            pass\n",
        MODEL + "test_a_slot_that_moves_takes_along_what_it_heard",
    ),
    Mutant(
        "speech: each answer is about what the first slot heard",
        "workers/language/cache/host.py",
        "self.heard.items():\n            bind(binding.bind_input, name, array[slot :",
        "self.heard.items():\n            bind(binding.bind_input, name, array[0 :",
        MODEL + "test_it_makes_no_difference_who_else_is_answered",
    ),
    Mutant(
        "speech: a language that the log has is looked for again",
        "src/penstock/language/speech/rules.py",
        "        said = [*(head or ()), *log]\n",
        "        said = [*(head or ()), *log[1:]]\n",
        MODEL + "test_answers_are_those_of_plain_numpy",
    ),
    Mutant(
        "speech: what was computed about another sound is reused",
        "workers/language/runtime.py",
        "    if hears:\n",
        "    if False:\n",
        MODEL + "test_prefixes_of_answers_about_other_sounds_are_not_reused",
    ),
    Mutant(
        "speech: all that wait are heard before anybody goes on",
        "workers/language/engine.py",
        "            if answer.audio is not None:\n                break\n",
        "",
        MODEL + "test_one_sound_is_heard_in_a_step",
    ),
    Mutant(
        "speech: a window's text begins without a space",
        "gateway/requests/language/transcripts.py",
        'self._held = " " if self._said else ""',
        'self._held = ""',
        RULES + "test_texts_of_windows_are_joined_the_same_however_they_come",
    ),
    Mutant(
        "speech: times may go back",
        "src/penstock/language/speech/rules.py",
        "masked[first : times[-1] +",
        "masked[first : times[0] +",
        RULES + "test_whatever_was_said_the_same_may_follow",
    ),
    Mutant(
        "speech: a word comes where a time is likelier",
        "src/penstock/language/speech/rules.py",
        "if _sum_of(masked[first:]) > masked[:first].max():",
        "if masked[first:].max() > masked[:first].max():",
        RULES + "test_whatever_was_said_the_same_may_follow",
    ),
    Mutant(
        "speech: a cut is where it is loud",
        "src/penstock/language/speech/windows.py",
        "powers.argmin()",
        "powers.argmax()",
        SOUNDS + "test_windows_are_cut_where_it_is_quiet_and_leave_nothing_out",
    ),
    Mutant(
        "speech: a lower rate folds what it cannot have",
        "src/penstock/language/speech/wav.py",
        "narrow = min(1.0, RATE / rate)",
        "narrow = 1.0",
        SOUNDS + "test_what_the_lower_rate_cannot_have_is_cut_off",
    ),
    Mutant(
        "speech: a file may have any length",
        "src/penstock/language/speech/wav.py",
        "if not 0 < count <= MOST_S * rate:",
        "if not 0 < count:",
        SOUNDS + "test_what_is_not_read_is_refused_by_name",
    ),
    Mutant(
        "speech: all chunks of a file are looked at",
        "src/penstock/language/speech/wav.py",
        "for _ in range(MOST_CHUNKS):",
        "while True:",
        SOUNDS + "test_other_chunks_are_passed_over_as_many_as_there_may_be",
    ),
    Mutant(
        "speech: a form's name is in any encoding",
        "gateway/fronts/http/openai/audio/forms.py",
        "    except ValueError as error:\n",
        "    except KeyError as error:\n",
        FORMS + "test_a_damaged_form_is_refused",
    ),
    Mutant(
        "speech: a request without audio is computed",
        "workers/language/speech/encoder.py",
        "    if not 0 < count <= speech.samples:\n",
        "    if False:\n",
        MODEL + "test_without_audio_or_with_more_than_a_window_nothing_is_computed",
    ),
    Mutant(
        "speech: a form has as many parts as it likes",
        "gateway/fronts/http/openai/audio/forms.py",
        "        if len(found) == MOST_PARTS:\n",
        "        if False:\n",
        FORMS + "test_a_damaged_form_is_refused",
    ),
    Mutant(
        "speech: a tensor of a checkpoint says what size it likes",
        "src/penstock/exporting/whisper/ctranslate2.py",
        "if kind not in _NUMBERS or math.prod(shape) * item != size or at + size > len(mapped):",
        "if kind not in _NUMBERS:",
        REFUSED + "test_a_tensor_that_says_another_size_is_damage",
    ),
    Mutant(
        "speech: two stages are exported",
        "src/penstock/exporting/export.py",
        "    if len(manifest.stages) > 1:\n",
        "    if False:\n",
        REFUSED + "test_two_stages_are_refused",
    ),
]
