"""A logger, and custom metrics of each kind."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        logger = pb_utils.Logger
        logger.log("level by default")
        logger.log("as a warning", logger.WARNING)
        logger.log_info("info")
        logger.log_warn("warning")
        logger.log_error("error")
        logger.log_verbose("verbose")
        family = pb_utils.MetricFamily
        self.counters = family("model_calls", "calls so far", family.COUNTER)
        self.gauges = family(name="model_level", description="a level", kind=family.GAUGE)
        self.histograms = family("model_spread", "a spread", family.HISTOGRAM)
        self.counter = self.counters.Metric(labels={"model": "m", "kind": "a"})
        self.other = self.counters.Metric(labels={"model": "m", "kind": "b"})
        self.gauge = self.gauges.Metric(labels={"model": "m"})
        self.histogram = self.histograms.Metric(labels={"model": "m"}, buckets=[0.5, 1.0, 5.0])

    def execute(self, requests):
        (request,) = requests
        by = float(pb_utils.get_input_tensor_by_name(request, "BY").as_numpy()[0])
        self.counter.increment(by)
        self.gauge.set(10.0)
        self.gauge.increment(-by)
        self.histogram.observe(by)
        values = [self.counter.value(), self.other.value(), self.gauge.value()]
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor("VALUES", np.array(values, np.float64)),
                ]
            )
        ]
