//! Which codes name a country (contract, section 2, rule 5), and which of those countries keep one time.
//!
//! GeoIP files and proxies also write codes that name none: `ZZ` and `XX` for "not known", `EU` and `AP` for a region, `T1` for
//! Tor, `A1` and `A2` for proxies and satellites. They are not among these.
//! Cost: two binary searches over constants, and no allocation.

/// The assigned codes of ISO 3166-1 alpha-2 (July 2026), in order, and `XK`: ISO lets users assign it, and every GeoIP
/// file and proxy has assigned it to Kosovo.
const ASSIGNED: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
                        CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO \
                        FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
                        JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
                        MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
                        PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM \
                        TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// Those for which the time zone database (its `zone.tab`, 2026) has more than one zone.
const SEVERAL_ZONES: &str =
    "AQ AR AU BR CA CD CL CN CY DE EC ES FM GL ID KI KZ MH MN MX MY NZ PF PG PS PT RU UA UM US UZ";

/// The code as a column has it, where it names a country; in either case, as it comes.
#[must_use]
pub fn country_code(code: &str) -> Option<&'static str> {
    find(ASSIGNED, code)
}

/// Whether a country's time zone is the same everywhere in it. Of a country with several, a GeoIP row that knows no more than
/// the country has the zone of its centre, where hardly anybody lives.
#[must_use]
pub fn has_one_time_zone(country: &str) -> bool {
    country_code(country).is_some() && find(SEVERAL_ZONES, country).is_none()
}

/// Codes stand three bytes apart.
fn find(codes: &'static str, code: &str) -> Option<&'static str> {
    let code: [u8; 2] = code.as_bytes().try_into().ok()?;
    let code = code.map(|byte| byte.to_ascii_uppercase());
    let at = |index: usize| &codes[index * 3..index * 3 + 2];
    let (mut low, mut high) = (0, codes.len().div_ceil(3));
    while low < high {
        let middle = usize::midpoint(low, high);
        match at(middle).as_bytes().cmp(&code) {
            std::cmp::Ordering::Equal => return Some(at(middle)),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn country_codes_are_in_order_and_all_found() {
        for (codes, count) in [(ASSIGNED, 250), (SEVERAL_ZONES, 31)] {
            let all: Vec<&str> = codes.split(' ').collect();
            assert_eq!(all.len(), count);
            assert!(all.is_sorted() && all.iter().all(|code| code.len() == 2));
            for code in all {
                assert_eq!(find(codes, code), Some(code));
                assert_eq!(country_code(&code.to_ascii_lowercase()), Some(code));
            }
        }
    }

    #[test]
    fn country_code_that_names_no_country_is_none() {
        for code in ["ZZ", "XX", "T1", "EU", "AP", "A1", "A2", "UK", "", "A", "AUT", "Österreich", "é", "aé", "-", "- "]
        {
            assert_eq!(country_code(code), None, "{code}");
            assert!(!has_one_time_zone(code), "{code}");
        }
    }

    #[test]
    fn country_with_one_time_zone_is_told_from_others() {
        for (country, expected) in
            [("AT", true), ("JP", true), ("IN", true), ("US", false), ("RU", false), ("BR", false)]
        {
            assert_eq!(has_one_time_zone(country), expected, "{country}");
        }
    }
}
