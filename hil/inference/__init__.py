"""Networks on a chip: planned, deployed, run layer by layer. Torch here, codes to the chip."""

from hil.inference.deployment import Deployment, deploy, deploy_network
from hil.inference.layer_serial import LayerProgress, LayerRun, RunResult, run_layer_serial
from hil.inference.plan import AnalogLayer, NetworkPlan, PlanSettings, plan_network
from hil.inference.reference import QuantisedReference
from hil.inference.report import DeploymentReport, LayerReport
from hil.inference.settings import Compensation, DeploymentSettings, Plan

__all__ = [
    "AnalogLayer",
    "Compensation",
    "Deployment",
    "DeploymentReport",
    "DeploymentSettings",
    "LayerProgress",
    "LayerReport",
    "LayerRun",
    "NetworkPlan",
    "Plan",
    "PlanSettings",
    "QuantisedReference",
    "RunResult",
    "deploy",
    "deploy_network",
    "plan_network",
    "run_layer_serial",
]
