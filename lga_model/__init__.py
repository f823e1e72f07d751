"""Loss Guided Activation: recognise the action in a photograph, and look at the person while doing it.

The method of Liu, Tan, You, *Loss Guided Activation for Action Recognition in Still Images*, ACCV 2018
(arXiv:1812.04194), in plain PyTorch. Eq. 1 is the loss (``losses``), Eq. 2 the activation maps (``activations``).

Nothing is imported here: ``lga_model.config`` stays readable without torch.
"""
