CANONICAL_FIELDS: tuple[str, ...]

ColumnSelection = indigo_async.ColumnSelection

ColumnSelections = indigo_async.ColumnSelections

ColumnSelectionsInput = ColumnSelections | Mapping[str, ColumnSelection | Mapping[str, Any]]

LookalikeFilters = indigo_async.LookalikeFilters

LookalikeFiltersInput = LookalikeFilters | Mapping[str, Any]

OptionalFieldType = indigo_async.OptionalFieldType

QueryParameters = Mapping[str, str | int | float | Sequence[str | int | float] | None]
