CustomerClient = indigo_async.CustomerClient

IndigoClient = indigo_async.IndigoClient
