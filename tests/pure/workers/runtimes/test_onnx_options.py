"""What config.pbtxt says to ONNX Runtime reaches it, and nothing else is taken."""

import onnxruntime as ort
import pytest
from support.models.onnx_models import write_add_sub
from support.models.pipelines import CPU
from support.records import config

from penstock.errors import ArtifactUnusable
from penstock.workers.runtimes.onnx_options import CUDA, providers, run_options, session_options
from penstock.workers.runtimes.opening import ONNX, TORCH, open_runtime
from penstock.workers.runtimes.runtime import DeviceRef

GPU = DeviceRef("cuda", 1, 1)
LEVELS = ort.GraphOptimizationLevel


def parameter(name, value):
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'


def accelerator(name, where="gpu", **parameters):
    given = " ".join(
        f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items()
    )
    return (
        "optimization { execution_accelerators "
        f'{{ {where}_execution_accelerator {{ name: "{name}" {given} }} }} }}'
    )


def options(text=""):
    return session_options(DeviceRef("cpu", 0, 3), config(text))


def refusal(call, *arguments):
    with pytest.raises(ArtifactUnusable) as caught:
        call(*arguments)
    return str(caught.value)


class TestSession:
    def test_threads_are_the_workers_unless_the_model_says_otherwise(self):
        said = parameter("intra_op_thread_count", 2) + parameter("inter_op_thread_count", 4)

        assert (options().intra_op_num_threads, options().inter_op_num_threads) == (3, 1)
        assert (options(said).intra_op_num_threads, options(said).inter_op_num_threads) == (2, 4)
        assert options(parameter("intra_op_thread_count", 0)).intra_op_num_threads == 3

    def test_threads_wait_awake_for_a_moment_and_are_told_to_stop_after_a_run(self):
        entry = options().get_session_config_entry

        assert entry("session.intra_op.spin_duration_us") == "100"
        assert entry("session.force_spinning_stop") == "1"
        assert entry("session.inter_op.allow_spinning") == "0"

    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            (-1, LEVELS.ORT_ENABLE_BASIC),
            (0, LEVELS.ORT_ENABLE_ALL),
            (1, LEVELS.ORT_ENABLE_EXTENDED),
            (2, LEVELS.ORT_DISABLE_ALL),
        ],
    )
    def test_the_level_of_optimization(self, level, expected):
        made = options(f"optimization {{ graph {{ level: {level} }} }}")

        assert made.graph_optimization_level == expected

    def test_operators_side_by_side(self):
        assert options().execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
        assert options(parameter("execution_mode", 1)).execution_mode == (
            ort.ExecutionMode.ORT_PARALLEL
        )

    def test_memory(self):
        made = options(parameter("enable_mem_arena", 0) + parameter("enable_mem_pattern", 0))

        assert (options().enable_cpu_mem_arena, options().enable_mem_pattern) == (True, True)
        assert (made.enable_cpu_mem_arena, made.enable_mem_pattern) == (False, False)

    def test_entries(self):
        name = "session.use_device_allocator_for_initializers"

        assert options(parameter(name, 1)).get_session_config_entry(name) == "1"

    def test_memory_given_back_after_each_run(self):
        name = "memory.enable_memory_arena_shrinkage"

        assert run_options(config("")) is None
        assert run_options(config(parameter(name, "cpu:0"))).get_run_config_entry(name) == "cpu:0"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (parameter("intra_op_thread_count", "many"), "must be a number of 0 or more, got 'ma"),
            (parameter("intra_op_thread_count", "-1"), "must be a number of 0 or more, got '-1'"),
            (parameter("execution_mode", "2"), "parameters.execution_mode must be 0 or 1, got '2'"),
            ("optimization { graph { level: 3 } }", "must be -1, 0, 1 or 2 for an ONNX model"),
        ],
    )
    def test_a_value_that_cannot_be_is_refused(self, text, words):
        assert words in refusal(options, text)

    def test_the_models_own_parameters_are_left_alone(self):
        assert options(parameter("anything", "at all")).intra_op_num_threads == 3

    @pytest.mark.parametrize(
        "name",
        [
            "session.load_model_format",
            "session.optimized_model_external_initializers_file_name",
            "session.of_a_later_release",
            "ep.context_file_path",
            "trt_engine_decryption_lib_path",
            "optimization.minimal_build_optimizations",
        ],
    )
    def test_a_setting_of_onnx_runtime_that_is_not_on_the_list_is_refused(self, name):
        told = refusal(options, parameter(name, "1"))

        assert told.startswith(f"parameters: '{name}' is not among those that reach ONNX Runtime")
        assert "intra_op_thread_count" in told

    def test_memory_is_given_back_of_arenas_alone(self):
        told = refusal(options, parameter("memory.enable_memory_arena_shrinkage", "all"))

        assert "must be as in cpu:0" in told

    def test_a_session_runs_with_them(self, tmp_path):
        import numpy as np

        said = config(
            parameter("execution_mode", 1)
            + parameter("memory.enable_memory_arena_shrinkage", "cpu:0")
            + "optimization { graph { level: 2 } }"
        )
        path = write_add_sub(tmp_path) / "1" / "model.onnx"
        two = np.full((1, 16), 2, np.int32)

        found = open_runtime(path, ONNX, CPU, config=said).run(
            {"INPUT0": two, "INPUT1": two}, ["OUTPUT0"]
        )

        assert found["OUTPUT0"].tolist() == [[4] * 16]


class TestProviders:
    def test_the_cpu_is_always_the_last(self):
        assert providers(CPU, config("")) == [("CPUExecutionProvider", {})]
        assert providers(GPU, config("")) == [
            (CUDA, {"device_id": "1", "cudnn_conv_algo_search": "HEURISTIC"}),
            ("CPUExecutionProvider", {}),
        ]

    @pytest.mark.parametrize(
        "text",
        [
            accelerator("cuda", cudnn_conv_algo_search=0, gpu_mem_limit=5, arena_extend_strategy=1),
            parameter("cudnn_conv_algo_search", 0)
            + parameter("gpu_mem_limit", 5)
            + parameter("arena_extend_strategy", 1),
        ],
    )
    def test_options_of_cuda_in_both_of_tritons_ways(self, text):
        assert providers(GPU, config(text))[0] == (
            CUDA,
            {
                "device_id": "1",
                "cudnn_conv_algo_search": "EXHAUSTIVE",
                "gpu_mem_limit": "5",
                "arena_extend_strategy": "kSameAsRequested",
            },
        )

    def test_options_of_tensorrt_have_onnx_runtimes_names(self, monkeypatch):
        monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
        text = accelerator(
            "tensorrt", precision_mode="FP16", max_workspace_size_bytes=9, trt_engine_cache_enable=1
        )

        assert [name for name, _ in providers(GPU, config(text))] == [
            "TensorrtExecutionProvider",
            CUDA,
            "CPUExecutionProvider",
        ]
        assert providers(GPU, config(text))[0][1] == {
            "device_id": "1",
            "trt_fp16_enable": "1",
            "trt_max_workspace_size": "9",
            "trt_engine_cache_enable": "1",
        }

    def test_a_device_has_its_own_accelerators(self):
        assert providers(CPU, config(accelerator("tensorrt"))) == providers(CPU, config(""))

    @pytest.mark.parametrize(
        ("device", "text", "words"),
        [
            (GPU, accelerator("auto_mixed_precision"), "'auto_mixed_precision' is not supported"),
            (GPU, accelerator("cuda", device_id=3), "cuda has no parameter 'device_id'"),
            (GPU, accelerator("cuda", user_compute_stream=3), "no parameter 'user_compute_stream'"),
            (GPU, accelerator("tensorrt", precision_mode="FP8"), "no parameter 'precision_mode: "),
            (
                GPU,
                accelerator("tensorrt", trt_extra_plugin_lib_paths="/tmp/x.so"),  # noqa: S108
                "no parameter 'trt_extra_plugin_lib_paths",
            ),
            (
                GPU,
                accelerator("tensorrt", trt_engine_decryption_lib_path="/tmp/x.so"),  # noqa: S108
                "no parameter 'trt_engine_decryption_lib_path'; it has int8_calibration_table_name",
            ),
            (GPU, accelerator("tensorrt", trt_engine_cache_path="/dev/shm"), "_engine_cache_path'"),  # noqa: S108
            (GPU, accelerator("tensorrt", trt_of_a_later_release=1), "'trt_of_a_later_release'"),
            (GPU, accelerator("tensorrt", trt_fp16_enable="/x"), "'trt_fp16_enable: /x'"),
            (GPU, accelerator("tensorrt", int8_calibration_table_name="../x"), "_name: ../x'"),
            (GPU, accelerator("cuda", gpu_mem_limit="all"), "no parameter 'gpu_mem_limit: all'"),
            (CPU, accelerator("openvino", "cpu"), "this ONNX Runtime has no OpenVINOExecutionProv"),
            (
                CPU,
                accelerator("openvino", "cpu", a=1),
                "openvino has no parameter 'a'; it has none",
            ),
        ],
    )
    def test_what_is_not_there_is_refused_by_its_name(self, device, text, words):
        assert words in refusal(providers, device, config(text))


def test_only_onnx_models_are_optimized(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(b"x")

    told = refusal(
        lambda: open_runtime(path, TORCH, CPU, config=config("optimization { graph { level: 1 } }"))
    )

    assert told == (
        "optimization.graph and .execution_accelerators are for ONNX models, and model.pt2 is "
        "none: remove them"
    )
