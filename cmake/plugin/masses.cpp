// SPDX-License-Identifier: GPL-2.0-or-later
#include "masses.h"

#include <cmath>
#include <map>

namespace phasewalk {

namespace {

/// Standard atomic weights of IUPAC (2016), g/mol; of the longest-lived isotope if there is none.
const std::map<std::string, double> kMasses = {
    {"H", 1.008},    {"He", 4.003},   {"Li", 6.94},    {"Be", 9.012},   {"B", 10.81},
    {"C", 12.011},   {"N", 14.007},   {"O", 15.999},   {"F", 18.998},   {"Ne", 20.18},
    {"Na", 22.99},   {"Mg", 24.305},  {"Al", 26.982},  {"Si", 28.085},  {"P", 30.974},
    {"S", 32.06},    {"Cl", 35.45},   {"Ar", 39.948},  {"K", 39.098},   {"Ca", 40.078},
    {"Sc", 44.956},  {"Ti", 47.867},  {"V", 50.941},   {"Cr", 51.996},  {"Mn", 54.938},
    {"Fe", 55.845},  {"Co", 58.933},  {"Ni", 58.693},  {"Cu", 63.546},  {"Zn", 65.38},
    {"Ga", 69.723},  {"Ge", 72.63},   {"As", 74.922},  {"Se", 78.971},  {"Br", 79.904},
    {"Kr", 83.798},  {"Rb", 85.468},  {"Sr", 87.62},   {"Y", 88.906},   {"Zr", 91.224},
    {"Nb", 92.906},  {"Mo", 95.95},   {"Tc", 97.907},  {"Ru", 101.07},  {"Rh", 102.906},
    {"Pd", 106.42},  {"Ag", 107.868}, {"Cd", 112.414}, {"In", 114.818}, {"Sn", 118.71},
    {"Sb", 121.76},  {"Te", 127.6},   {"I", 126.904},  {"Xe", 131.293}, {"Cs", 132.905},
    {"Ba", 137.327}, {"La", 138.905}, {"Ce", 140.116}, {"Pr", 140.908}, {"Nd", 144.242},
    {"Pm", 144.913}, {"Sm", 150.36},  {"Eu", 151.964}, {"Gd", 157.25},  {"Tb", 158.925},
    {"Dy", 162.5},   {"Ho", 164.93},  {"Er", 167.259}, {"Tm", 168.934}, {"Yb", 173.054},
    {"Lu", 174.967}, {"Hf", 178.49},  {"Ta", 180.948}, {"W", 183.84},   {"Re", 186.207},
    {"Os", 190.23},  {"Ir", 192.217}, {"Pt", 195.084}, {"Au", 196.967}, {"Hg", 200.592},
    {"Tl", 204.38},  {"Pb", 207.2},   {"Bi", 208.98},  {"Po", 208.982}, {"At", 209.987},
    {"Rn", 222.018}, {"Fr", 223.02},  {"Ra", 226.025}, {"Ac", 227.028}, {"Th", 232.038},
    {"Pa", 231.036}, {"U", 238.029},  {"Np", 237.048}, {"Pu", 244.064},
};

/// How far a mass is from that of an element, relative to it; large if there is none.
double distance(double mass, const std::string &element) {
  const auto found = kMasses.find(element);
  return found == kMasses.end() ? 1.0 : std::abs(mass / found->second - 1.0);
}

}  // namespace

std::optional<Misnamed> misnamed(const std::vector<std::string> &names,
                                 const std::vector<double> &masses,
                                 const std::vector<std::string> &known) {
  constexpr double kSame = 0.005, kOther = 0.1;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (masses[i] <= 0.0 || !kMasses.count(names[i]) || distance(masses[i], names[i]) < kOther)
      continue;
    for (const auto &element : known)
      if (element != names[i] && distance(masses[i], element) < kSame)
        return Misnamed{static_cast<int>(i) + 1, element};
  }
  return std::nullopt;
}

}  // namespace phasewalk
