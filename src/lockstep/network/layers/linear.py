"""A linear layer for inputs of more than two axes."""

from torch import Tensor, nn


class Linear(nn.Linear):
    """torch's, ``[…, D] → […, H]``, as one product over all leading axes.

    Under ``vmap`` torch would expand the weights over the leading axes first.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self.out_features)
