# The image that the experiments name, with what a trial needs baked in: startup-hook.sh then has
# nothing to do. Build from the checkout's root:  docker build -t REGISTRY/det-files:0.1.0 .
FROM pytorch/pytorch:2.13.0-cuda13.0-cudnn9-devel

# pdsh and sshd start DeepSpeed on several nodes; libaio is for NVMe offload.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git libaio-dev openssh-server pdsh \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.txt /tmp/requirements.txt
RUN python3 -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > /tmp/torch.txt \
    && grep -v '^torch==' /tmp/requirements.txt > /tmp/rest.txt \
    && python3 -m pip install --no-cache-dir --constraint /tmp/torch.txt -r /tmp/rest.txt \
    && rm /tmp/torch.txt /tmp/rest.txt /tmp/requirements.txt
