"""What compensation costs: minutes, and memory above that of the model and the images.

    python examples/benchmarks/compensation_cost.py --images 256 --size 224

ResNet-50 in its own shapes with random weights and images of noise, on the CPU: half of the
multiply-adds go, the same fraction of every group, first without compensation and then with it.
Memory is the highest that the process has had resident so far. Norms stay as they are: their
statistics are renewed without compensation, too.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import torch
import torchvision

import lightning_prune as lp


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50", help="of torchvision")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=224, help="of an image, in pixels")
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    model = torchvision.models.get_model(arguments.model).eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(arguments.images, 3, arguments.size, arguments.size)
    print(f"model and images: {peak():.2f} GB", flush=True)
    for compensation in (None, lp.LeastSquares(samples=arguments.images)):
        model.load_state_dict(weights)
        start, processor = time.perf_counter(), time.process_time()
        report = lp.prune(
            model,
            images[:1],
            sparsity=0.5,
            of="macs",
            criterion=lp.Magnitude(),
            allocation=lp.Uniform(),
            batches=list(images.split(arguments.batch)),
            compensation=compensation,
            renew_norms=False,
        )
        minutes = (time.perf_counter() - start) / 60, (time.process_time() - processor) / 60
        took = f"{minutes[0]:.1f} minutes ({minutes[1]:.1f} of the processor)"
        print(f"{compensation}: {took}, {peak():.2f} GB", flush=True)
    print(*(report.compensated.notes() if report.compensated else []), sep="\n")
    print("sum of the weights:", sum(float(p.double().sum()) for p in model.parameters()))


def peak() -> float:
    """Return the most memory that this process has had resident, in GB of 2**30 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
