// SPDX-License-Identifier: GPL-2.0-or-later
#include "exchange.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <stdexcept>

namespace phasewalk {

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;

constexpr const char *kExchange = "phasewalk::exchange";
constexpr const char *kCollect = "phasewalk::collect";

Ranks *in_use = nullptr;  // not of a thread: torch derives on threads of its own for GPUs

Ranks &ranks() {
  if (!in_use) throw std::runtime_error("a model of several ranks was called without LAMMPS");
  return *in_use;
}

Rows rows_of(const Tensor &host) {
  return {host.mutable_data_ptr<double>(), host.size(0), static_cast<int>(host.size(1))};
}

/// (owned, width) to (total, width)
Tensor exchange(const Tensor &features, std::int64_t total) {
  const Tensor host = at::empty({total, features.size(1)}, at::kDouble);
  host.narrow(0, 0, features.size(0)).copy_(features);
  ranks().forward(rows_of(host));
  return host.to(features.options());
}

/// (total, width) to (owned, width)
Tensor collect(const Tensor &gradient, std::int64_t owned) {
  const Tensor host = at::empty(gradient.sizes(), at::kDouble);
  host.copy_(gradient);
  ranks().reverse(rows_of(host));
  return host.narrow(0, 0, owned).to(gradient.options(), false, /*copy=*/true);
}

Tensor call(const char *name, const Tensor &tensor, std::int64_t size) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(name, "")
      .typed<Tensor(const Tensor &, std::int64_t)>()
      .call(tensor, size);
}

struct Exchange : torch::autograd::Function<Exchange> {
  static Tensor forward(AutogradContext *context, const Tensor &features, std::int64_t total) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->saved_data["owned"] = features.size(0);
    return call(kExchange, features, total);
  }

  static torch::autograd::variable_list backward(AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    return {call(kCollect, gradients[0], context->saved_data["owned"].toInt()), Tensor()};
  }
};

Tensor differentiable_exchange(const Tensor &features, std::int64_t total) {
  return Exchange::apply(features, total);
}

}  // namespace

UseRanks::UseRanks(Ranks &ranks) { in_use = &ranks; }

UseRanks::~UseRanks() { in_use = nullptr; }

void register_exchange() {
  // never deleted: torch may use the operators until the end of the process
  static const auto *const library = [] {
    auto *made =
        new torch::Library(torch::Library::FRAGMENT, "phasewalk", std::nullopt, __FILE__, __LINE__);
    if (!c10::Dispatcher::singleton().findSchema({kExchange, ""})) {
      made->def("exchange(Tensor features, SymInt total) -> Tensor");
      made->def("collect(Tensor gradient, SymInt owned) -> Tensor");
    }
    for (const auto key : {c10::DispatchKey::CPU, c10::DispatchKey::CUDA}) {
      made->impl("exchange", torch::dispatch(key, TORCH_FN(exchange)));
      made->impl("collect", torch::dispatch(key, TORCH_FN(collect)));
    }
    made->impl("exchange",
               torch::dispatch(c10::DispatchKey::Autograd, TORCH_FN(differentiable_exchange)));
    return made;
  }();
  static_cast<void>(library);
}

}  // namespace phasewalk
