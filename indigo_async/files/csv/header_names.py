"""Recognize fields by their column names, such as "FNAME", "Reg_ZIP5" or "Voters_BirthDate"."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

import attrs

__all__ = ["RecognizedField", "find_other_field", "is_excluded_header", "is_value", "recognize_field"]

_MAX_NAME_LENGTH = 80
_VALUE = re.compile(r"[\d\s()+./:-]*\d[\d\s()+./:-]*|\S+@\S+\.\S+")
"""A number, date, phone number or email address: common in rows, rare in headers."""

_QUALIFIERS = (
    "cell|client|constituent|contact|crm|current|customer|donor|file|home|individual|legal|main|member|membership|"
    "mobile|my|myv|patron|people|permanent|person|personal|petitioner|preferred|primary|reg|registered|registrant|"
    "registration|res|residence|residences|residential|signatory|signer|subscriber|supporter|tsmart|van|vb|vf|volunteer|"
    "usps|v|voter|voters|voterbase|voting|your|mmddyyyy|yyyymmdd"
)
_FALLBACK_QUALIFIERS = (
    "addresses|alt|alternate|alternative|billing|business|daytime|evening|former|landline|m|mail|mailing|office|other|"
    "previous|secondary|shipping|telephones|votertelephones|work"
)
_EXCLUDED = re.compile(
    "amount|candidate|child|city of birth|committee|company|country|county|created|district|e ?mail|employer|emergency|"
    "fax|friend|guardian|husband|issued|joined|father|mother|organi[sz]ation|parent|partner|precinct|price|quantity|"
    "recruiter|referr|signed|since|sister|spouse|total|treasurer|updated|wife|zip ?\\+? ?4|plus ?4"
)
"""Words that give a column another meaning, or make it about another person."""

_SPELLINGS = {
    "first_name": "first|first1|firstname|firstnm|fname|firstn|frstname|given|givenname|forename|namefirst|nombre|"
    "prenom",
    "last_name": "last|lastname|lastnm|lname|lastn|lstname|surname|familyname|namelast|apellido|apellidos",
    "full_name": "name|fullname|fullnm|namefull|completename|firstlast|firstandlast|firstandlastname|firstlastname|"
    "lastfirst|lastnamefirstname|lastfirstname|namelastfirst|namefirstlast|displayname|nombrecompleto",
    "city": "city|cityname|town|citytown|towncity|municipality|locality|citynm|ciudad",
    "state": "state|st|statecode|stateabbr|stateabbrev|stateabbreviation|statename|stateprovince|provincestate|"
    "stateregion|region|usstate|estado|stcd|statecd",
    "zip": "zip|zip5|zip9|zipcode|zipcd|zipcode5|zip5code|zippostal|zippostalcode|postalcodezip|postal|postalcode|"
    "postcode|postalzip|zippluss?4?code|codigopostal",
    "phone": "phone|phoneno|phonenum|phonenumber|phonenbr|phone1|phonenumber1|tel|telephone|telephoneno|"
    "telephonenumbertelno|ph|landline|mobile|mobileno|mobilenumber|cell|cellno|cellnumber|cellular|cellphoneformatted|phoneformatted|"
    "contactnumber|telefono",
    "dob": "dob|birthdate|birthdt|bdate|bday|birthday|birth|born|bornon|bornat|dateofbirth|datebirth|dobdate|dateborn|"
    "fechadenacimiento",
    "address": "address|addr|address1|addr1|addressline|addressline1|addr1line|line1|street|street1|streetline1|"
    "streetaddress|streetaddress1|streetaddr|straddress|addressstreet|fulladdress|direccion|domicilio",
    "id": "id|uuid|guid|uid|idno|idnum|idnumber|identifier|recordid|rowid|externalid|uniqueid|systemid|sourceid|"
    "statevoterid|countyvoterid|statefileid|countyfileid|statesourceid|sosid|sosvoterid|lalvoterid|dwid|pid|"
    "nationbuilderid|can2userid|(?:voter|member|membership|registration|reg|donor|constituent|supporter|affidavit|record)"
    "(?:no|num|nbr|number)",
}
_SHARED_SPELLINGS = {
    "first_name": _SPELLINGS["full_name"],
    "last_name": _SPELLINGS["full_name"],
    "full_name": "nombre",
    "address": "st|postal",
}
"""Names that a field's column may have, too, although they are recognized as another field."""


@attrs.frozen
class RecognizedField:
    """The field that a column is named after. A fallback is a second choice, such as a mailing or work address."""

    field: str
    is_fallback: bool = False


def _split_words(name: str) -> list[str]:
    """Split a name into lower-case words without accents: "Reg_ZipCode" into reg, zip and code."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).lower())


def _field_words(name: str) -> list[str]:
    """Split the name of a field's column into words, without Salesforce's suffix."""
    return _split_words(re.sub("__c$", "", name[:_MAX_NAME_LENGTH], flags=re.IGNORECASE))


def _name_pattern(spellings: str, qualifiers: str) -> re.Pattern[str]:
    return re.compile(f"(?:{qualifiers})*?(?:{spellings})(?:{qualifiers})*")


@cache
def _patterns() -> dict[RecognizedField, re.Pattern[str]]:
    """Patterns in the order to try them: first the plain names of all fields, then the fallbacks."""
    patterns: dict[RecognizedField, re.Pattern[str]] = {}
    for is_fallback, qualifiers in ((False, _QUALIFIERS), (True, f"{_QUALIFIERS}|{_FALLBACK_QUALIFIERS}")):
        for field, spellings in _SPELLINGS.items():
            patterns[RecognizedField(field, is_fallback)] = _name_pattern(spellings, qualifiers)
    return patterns


@cache
def _possible_names(field: str) -> re.Pattern[str]:
    """All names that a field's column may have, even those that are recognized as another field."""
    spellings = "|".join(filter(None, (_SPELLINGS[field], _SHARED_SPELLINGS.get(field))))
    return _name_pattern(spellings, f"{_QUALIFIERS}|{_FALLBACK_QUALIFIERS}")


@lru_cache(maxsize=1_000)  # lists have the same columns again and again
def recognize_field(name: str) -> RecognizedField | None:
    """The field that a column is named after; None if its name matches no field."""
    words = _field_words(name)
    joined = "".join(words)
    for recognized, pattern in _patterns().items():
        if pattern.fullmatch(joined):
            return recognized
    if words and words[-1] in {"id", "uuid", "guid"} and not is_excluded_header(name):
        return RecognizedField("id", is_fallback=True)
    return None


def find_other_field(name: str, field: str) -> str | None:
    """The field, other than `field`, that a column is certainly named after. None if it may hold `field`.

    Any column may serve as the `id`.
    """
    recognized = recognize_field(name)
    if recognized is None or recognized.is_fallback or field in {recognized.field, "id"}:
        return None
    if _possible_names(field).fullmatch("".join(_field_words(name))):
        return None
    return recognized.field


def is_excluded_header(name: str) -> bool:
    """Whether a name says that a column's values are not the person's own, or something other than a field."""
    return _EXCLUDED.search(" ".join(_split_words(name[:_MAX_NAME_LENGTH]))) is not None


def is_value(name: str) -> bool:
    """Whether text is a number, date, phone number or email address, which columns are never named after."""
    return _VALUE.fullmatch(name.strip()) is not None
