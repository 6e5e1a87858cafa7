// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_MASSES_H
#define PHASEWALK_MASSES_H

#include <optional>
#include <string>
#include <vector>

namespace phasewalk {

/// A type of atoms with an element's name and another element's mass.
struct Misnamed {
  int type = 0;         ///< from 1
  std::string element;  ///< whose mass it has
};

/// The first type whose mass is that of another element of the model, and not of its own: elements
/// in the wrong order. Other masses, as those of isotopes or of heavier hydrogen, are not judged.
///
/// @param names  the element of each type
/// @param masses the mass of each type, g/mol; 0 if it is not known
/// @param known  the elements of the model
std::optional<Misnamed> misnamed(const std::vector<std::string> &names,
                                 const std::vector<double> &masses,
                                 const std::vector<std::string> &known);

}  // namespace phasewalk

#endif
