"""The programs that the other checks run."""

from deploy_check import fetched
from deploy_check.check import Check, Wrong, output_of


def _run_pinned() -> str:
    asked = {
        "helm": ("v4.3.1", output_of(fetched.helm(), "version", "--short")),
        "kubectl": ("v1.37.1", output_of(fetched.kubectl(), "version", "--client")),
        "promtool": ("2.42.0", output_of(fetched.promtool(), "--version")),
        "prometheus": ("2.42.0", output_of(fetched.prometheus(), "--version")),
    }
    for name, (version, said) in asked.items():
        if version not in said:
            raise Wrong(f"{name} shall be {version}, and says {said}")
    return ", ".join(f"{name} {version}" for name, (version, _) in asked.items())


CHECKS = (Check("programs have their pinned versions", _run_pinned),)
