// SPDX-License-Identifier: GPL-2.0-or-later
#include "stopper.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace phasewalk {

namespace {

/// A process may have several instances, each in its own thread.
struct Registry {
  std::mutex mutex;
  std::vector<std::pair<const void *, Stopper *>> entries;
};

Registry &registry() {
  static Registry *const one = new Registry;  // never deleted: used until the end of the process
  return *one;
}

}  // namespace

StopperEntry::StopperEntry(const void *instance, Stopper &stopper) : stopper_(&stopper) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().entries.emplace_back(instance, &stopper);
}

StopperEntry::~StopperEntry() {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  auto &entries = registry().entries;
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [this](const auto &entry) { return entry.second == stopper_; }),
                entries.end());
}

Stopper *stopper_of(const void *instance) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  for (const auto &[known, stopper] : registry().entries)
    if (known == instance) return stopper;
  return nullptr;
}

}  // namespace phasewalk
