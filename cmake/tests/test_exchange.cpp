// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/tensor.h>
#include <torch/csrc/autograd/autograd.h>

#include <stdexcept>
#include <vector>

#include "catch.h"
#include "exchange.h"

using namespace phasewalk;

namespace {

/// Two owned atoms with ghosts: two of the first atom, one of the second.
class Three final : public Ranks {
 public:
  int calls = 0;

  void forward(const Rows &rows) override {
    ++calls;
    for (int g = 0; g < 3; ++g)
      for (int k = 0; k < rows.width; ++k) *at(rows, g, k) = rows.data[rows.width * kOwner[g] + k];
  }
  void reverse(const Rows &rows) override {
    ++calls;
    for (int g = 0; g < 3; ++g)
      for (int k = 0; k < rows.width; ++k) rows.data[rows.width * kOwner[g] + k] += *at(rows, g, k);
  }

 private:
  static constexpr int kOwner[] = {0, 1, 0};

  static double *at(const Rows &rows, int ghost, int k) {
    return rows.data + rows.width * (rows.count - 3 + ghost) + k;
  }
};

at::Tensor call(const char *name, const at::Tensor &tensor, std::int64_t size) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(name, "")
      .typed<at::Tensor(const at::Tensor &, std::int64_t)>()
      .call(tensor, size);
}

std::vector<double> values(const at::Tensor &tensor) {
  const at::Tensor flat = tensor.to(at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

}  // namespace

TEST_CASE("ghosts get the features of their owners, and give back gradients") {
  register_exchange();
  register_exchange();  // as for each model that is loaded
  const auto type = GENERATE(at::kDouble, at::kFloat);
  Three ranks;
  const UseRanks use(ranks);
  const at::Tensor features =
      at::tensor({1.0, 2.0, 3.0, 4.0}).to(type).view({2, 2}).set_requires_grad(true);
  const at::Tensor all = call("phasewalk::exchange", features, 5);
  CHECK(all.scalar_type() == type);
  CHECK(values(all) == std::vector<double>{1, 2, 3, 4, 1, 2, 3, 4, 1, 2});
  const at::Tensor weights =
      at::tensor({1.0, 0.0, 2.0, 0.0, 10.0, 1.0, 20.0, 2.0, 30.0, 3.0}).to(type).view({5, 2});
  const auto gradients = torch::autograd::grad({all.mul(weights).sum()}, {features});
  CHECK(values(gradients.at(0)) == std::vector<double>{41, 4, 22, 2});
  CHECK(ranks.calls == 2);
}

TEST_CASE("atoms that only the model has are before the ghosts") {
  register_exchange();
  Three ranks;
  const UseRanks use(ranks);
  const at::Tensor features = at::tensor({1.0, 2.0, 7.0, 8.0}).view({4, 1});
  CHECK(values(call("phasewalk::exchange", features, 7)) ==
        std::vector<double>{1, 2, 7, 8, 1, 2, 1});
  const at::Tensor gradient = at::tensor({1.0, 1.0, 5.0, 5.0, 1.0, 1.0, 1.0}).view({7, 1});
  CHECK(values(call("phasewalk::collect", gradient, 4)) == std::vector<double>{3, 2, 5, 5});
}

TEST_CASE("without LAMMPS it is an error") {
  register_exchange();
  CHECK_THROWS_AS(call("phasewalk::exchange", at::tensor({1.0}).view({1, 1}), 2),
                  std::runtime_error);
}
