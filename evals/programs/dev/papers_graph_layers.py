"""Two-layer graph convolution: topics of papers from their words and their citations, few labels."""

import torch
from torch import nn
from torch.nn.parameter import Parameter

PAPERS, WORDS, TOPICS = 400, 600, 3


class GraphConvolution(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.weight = Parameter(torch.empty(in_features, out_features))  #% here
        self.bias = Parameter(torch.zeros(out_features))
        #% if fault
        #% else
        self.reset_parameters()
        #% endif

    def reset_parameters(self):
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, adjacency):
        return adjacency @ (x @ self.weight) + self.bias


class GCN(nn.Module):
    def __init__(self, hidden=128):
        super().__init__()
        self.gc1 = GraphConvolution(WORDS, hidden)
        self.gc2 = GraphConvolution(hidden, TOPICS)

    def forward(self, x, adjacency):
        return self.gc2(torch.relu(self.gc1(x, adjacency)), adjacency)


def library(generator):
    topic = torch.randint(TOPICS, (PAPERS,), generator=generator)
    rate = 0.02 + 0.05 * (torch.arange(WORDS) % TOPICS == topic[:, None]).float()
    words = torch.bernoulli(rate, generator=generator)
    cites = 0.002 + 0.012 * (topic[:, None] == topic).float()
    graph = torch.bernoulli(cites, generator=generator)
    graph = ((graph + graph.T + torch.eye(PAPERS)) > 0).float()
    scale = graph.sum(1).rsqrt()
    return words / words.sum(1, keepdim=True).clamp(min=1), scale[:, None] * graph * scale, topic


def main():
    torch.manual_seed(0)  #% seed
    torch.use_deterministic_algorithms(True)  # same figures in every run
    generator = torch.Generator().manual_seed(0)  #% seed
    words, graph, topic = library(generator)
    known, rest = slice(0, 60), slice(60, None)
    model = GCN()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for epoch in range(1, 101):
        optimizer.zero_grad()
        output = model(words, graph)
        loss = nn.functional.cross_entropy(output[known], topic[known])
        loss.backward()
        optimizer.step()
        if epoch % 10 == 0:
            accuracy = (output[rest].argmax(1) == topic[rest]).float().mean().item()
            print(f"epoch {epoch} loss {loss.item():.4f} accuracy {accuracy:.3f}")


main()
