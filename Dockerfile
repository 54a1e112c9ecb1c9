# The image that the experiments name, with what trials and notebooks need baked in:
# startup-hook.sh then has nothing to do. Build from the checkout's root:
#   docker build -t REGISTRY/det-files:0.1.0 . && docker push REGISTRY/det-files:0.1.0
FROM pytorch/pytorch:2.13.0-cuda13.0-cudnn9-devel

# The image's Python is Ubuntu's, which refuses pip (PEP 668): here, and in each container, where
# Determined installs its own client with pip before anything else.
ENV PIP_BREAK_SYSTEM_PACKAGES=1

# sshd and pdsh start DeepSpeed on several nodes, and sshd is what `det shell` opens; without its
# directory in /run it does not start, and host keys come from Determined. libaio is for NVMe
# offload; a compiler and Python's headers are for DeepSpeed's operators.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates g++ git libaio-dev openssh-client openssh-server pdsh python3-dev \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
    && mkdir -p /run/sshd

# Determined's own places for Jupyter's files: the task's user may write there.
ENV JUPYTER_CONFIG_DIR=/run/determined/jupyter/config \
    JUPYTER_DATA_DIR=/run/determined/jupyter/data \
    JUPYTER_RUNTIME_DIR=/run/determined/jupyter/runtime

# The image's torch stays. Of determined only the dependencies stay: the master brings the client in
# its own version, and installs it without an index then.
COPY requirements.txt /tmp/pins/requirements.txt
COPY notebooks/requirements.txt /tmp/pins/notebooks.txt
RUN cd /tmp/pins \
    && grep -hv -e '^torch==' -e '^#' requirements.txt notebooks.txt > wanted.txt \
    && python3 -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > fixed.txt \
    && cat wanted.txt >> fixed.txt \
    && python3 -m pip install --no-cache-dir --constraint fixed.txt --requirement wanted.txt \
    && python3 -m pip install --no-cache-dir --constraint fixed.txt determined==0.38.1 \
    && python3 -m pip uninstall --yes determined \
    && rm -rf /tmp/pins
