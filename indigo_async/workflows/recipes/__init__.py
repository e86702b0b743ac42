"""Private: the recipes and their stages. Import from `indigo_async.workflows`."""
